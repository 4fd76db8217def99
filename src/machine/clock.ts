/**
 * The machine's `GuestClock`: guest time is piecewise linear in retired instructions (the engine multiplies), and this
 * file decides where a piece ends and what the next one's slope is.
 *
 * With a host clock, guest time follows the wall: when they are more than 200 us apart a new piece begins. A guest that
 * is behind is set to host time; one that is ahead is slowed until the wall has caught up, because guest time never
 * goes backwards. The slope is the measured host time per instruction, so pieces are long while the speed is steady.
 * Without one (deterministic) there is a single slope for good, and idling jumps to the next deadline.
 */
import type { GuestClock, GuestTimer } from "../devices/device.js";
import type { Engine } from "../native/engine.js";
import { TimerQueue } from "./timers.js";

/** Slope of deterministic machines, and the first guess of the others: 100 million instructions per second. */
export const NOMINAL_PS_PER_INSTRUCTION = 10_000;
/** Guest and host may differ by this much before a new piece begins. */
export const MAX_DRIFT_NS = 200_000;
/** A guest that is ahead is slowed to meet the wall after this long. */
const CATCH_UP_NS = 10_000_000;
/** The guest's clock is never slowed below this part of its measured speed. */
const SLOWEST = 1 / 8;
/** A timer due already leaves the guest this long to make progress before it is looked at again. */
const MIN_RUN_NS = 1_000;
const MIN_SLOPE = 50;
const MAX_SLOPE = 2_000_000;
/** Fewer instructions than this make no measurement of speed. */
const MIN_SAMPLE = 4_096;

/** A new piece of guest time, as recordings will keep it. */
export interface ClockAnchor {
  readonly ns: number;
  readonly picosecondsPerInstruction: number;
}

export interface ClockOptions {
  readonly engine: Pick<Engine, "exit" | "guestNs" | "anchorClock">;
  /** Monotonic host nanoseconds; leave out for a deterministic machine. */
  readonly hostNs?: () => number;
  /** Told of every new piece. */
  readonly onAnchor: (anchor: ClockAnchor) => void;
  /** Told when a timer's handler throws: a device bug, contained. */
  readonly onFault: (device: string, error: unknown) => void;
}

export class MachineClock implements GuestClock {
  readonly deterministic: boolean;
  readonly #options: ClockOptions;
  readonly #timers = new TimerQueue();
  readonly #hostNs: () => number;
  /** Guest time of the newest anchor: later than the exit page's time until the next run. */
  #anchoredNs = 0;
  /** Host time at guest time zero. */
  #originNs = 0;
  #slope = NOMINAL_PS_PER_INSTRUCTION;
  #slowed = false;
  #sampleHostNs = 0;
  #sampleInstructions = 0;

  constructor(options: ClockOptions) {
    this.#options = options;
    this.deterministic = options.hostNs === undefined;
    this.#hostNs = options.hostNs ?? (() => 0);
  }

  nowNs(): number {
    return Math.max(this.#options.engine.exit.guestNs, this.#anchoredNs);
  }

  timer(name: string, onExpire: (nowNs: number) => void): GuestTimer {
    return this.#timers.add(name, onExpire);
  }

  /** Begins guest time (again): from here on it follows the wall. Call before the first run and after any pause. */
  start(): void {
    this.#originNs = this.#hostNs() - this.nowNs();
    this.#anchor(this.nowNs(), this.#slope);
    this.#beginSample();
  }

  /** The nearest device deadline; Infinity when no timer is armed. */
  get nextDeadlineNs(): number {
    return this.#timers.earliestNs;
  }

  /** How far the guest may run before a timer must be looked at. */
  get runDeadlineNs(): number {
    const earliest = this.#timers.earliestNs;
    return earliest === Number.POSITIVE_INFINITY ? earliest : Math.max(earliest, this.nowNs() + MIN_RUN_NS);
  }

  /** Fires the timers that are due. */
  expire(): void {
    if (this.#timers.earliestNs === Number.POSITIVE_INFINITY) return;
    this.#timers.expire(this.nowNs(), this.#options.onFault);
  }

  /** Compares guest and host time, once per quantum; begins a new piece when they have drifted apart. */
  look(): void {
    if (this.deterministic) return;
    const hostNs = this.#hostNs();
    this.#measure(hostNs);
    const guestNs = this.nowNs();
    const aheadNs = guestNs - (hostNs - this.#originNs);
    if (aheadNs < -MAX_DRIFT_NS) {
      this.#slowed = false;
      this.#anchor(guestNs - aheadNs, this.#slope);
    } else if (aheadNs > MAX_DRIFT_NS) {
      this.#slowed = true;
      this.#anchor(guestNs, this.#slope * Math.max(SLOWEST, 1 - aheadNs / CATCH_UP_NS));
    } else if (this.#slowed && aheadNs <= 0) {
      this.#slowed = false;
      this.#anchor(guestNs, this.#slope);
    }
  }

  /** Host nanoseconds until the wall reaches guest time `deadlineNs`; zero or less when it has. Deterministic machines never wait. */
  waitNs(deadlineNs: number): number {
    return this.deterministic ? 0 : deadlineNs - (this.#hostNs() - this.#originNs);
  }

  /** Ends an idle period: guest time is now host time, and at least `reachedNs`. */
  resume(reachedNs: number): void {
    const wallNs = this.deterministic ? 0 : this.#hostNs() - this.#originNs;
    this.#slowed = false;
    this.#anchor(Math.max(this.nowNs(), wallNs, reachedNs), this.#slope);
    this.#beginSample();
  }

  #measure(hostNs: number): void {
    const instructions = this.#options.engine.exit.instructions - this.#sampleInstructions;
    if (instructions < MIN_SAMPLE) return;
    // One sample moves the slope by at most a factor: the host's scheduler makes outliers.
    const sample = ((hostNs - this.#sampleHostNs) * 1000) / instructions;
    const bounded = Math.min(Math.max(sample, this.#slope / 4), this.#slope * 4);
    this.#slope = Math.min(Math.max(this.#slope + (bounded - this.#slope) / 8, MIN_SLOPE), MAX_SLOPE);
    this.#sampleHostNs = hostNs;
    this.#sampleInstructions = this.#options.engine.exit.instructions;
  }

  #beginSample(): void {
    this.#sampleHostNs = this.#hostNs();
    this.#sampleInstructions = this.#options.engine.exit.instructions;
  }

  #anchor(ns: number, slope: number): void {
    const anchor = { ns: Math.ceil(ns), picosecondsPerInstruction: Math.round(Math.max(slope, MIN_SLOPE)) };
    this.#options.engine.anchorClock(anchor.ns, anchor.picosecondsPerInstruction);
    this.#anchoredNs = anchor.ns;
    this.#options.onAnchor(anchor);
  }
}
