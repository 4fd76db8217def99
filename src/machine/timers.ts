/**
 * Guest timers in order of (deadline, name). A machine has about a dozen, so the queue is an array whose earliest
 * member is remembered; arming and expiring allocate nothing.
 */
import type { GuestTimer } from "../devices/device.js";
import { invariant } from "../errors.js";

const NEVER = Number.POSITIVE_INFINITY;

export class TimerQueue {
  readonly #timers: QueuedTimer[] = [];
  #earliestNs = NEVER;

  /** The nearest armed deadline in guest nanoseconds; Infinity when nothing is armed. */
  get earliestNs(): number {
    return this.#earliestNs;
  }

  /** Adds a disarmed timer. `name` must be new: it orders equal deadlines and names saved timers. */
  add(name: string, onExpire: (nowNs: number) => void): GuestTimer {
    invariant(!this.#timers.some((timer) => timer.name === name), `two timers are called ${name}`);
    const timer = new QueuedTimer(name, onExpire, () => this.#refresh());
    this.#timers.push(timer);
    // Kept in name order, so that the scan meets equal deadlines in that order.
    this.#timers.sort((a, b) => (a.name < b.name ? -1 : 1));
    return timer;
  }

  /**
   * Fires what is due at `nowNs`, earliest first. A timer that re-arms itself into the past waits for the next call,
   * so that no device can keep the guest from running.
   */
  expire(nowNs: number, onThrow: (name: string, error: unknown) => void): void {
    if (this.#earliestNs > nowNs) return;
    for (const timer of this.#timers) timer.fired = false;
    for (let next = this.#firstDue(nowNs); next !== undefined; next = this.#firstDue(nowNs)) {
      next.fired = true;
      next.deadline = NEVER;
      try {
        next.onExpire(nowNs);
      } catch (error) {
        onThrow(next.name, error);
      }
    }
    this.#refresh();
  }

  #firstDue(nowNs: number): QueuedTimer | undefined {
    let first: QueuedTimer | undefined;
    for (const timer of this.#timers) {
      if (!timer.fired && timer.deadline <= nowNs && (first === undefined || timer.deadline < first.deadline))
        first = timer;
    }
    return first;
  }

  #refresh(): void {
    let earliest = NEVER;
    for (const timer of this.#timers) if (timer.deadline < earliest) earliest = timer.deadline;
    this.#earliestNs = earliest;
  }
}

class QueuedTimer implements GuestTimer {
  readonly name: string;
  readonly onExpire: (nowNs: number) => void;
  readonly #changed: () => void;
  deadline = NEVER;
  /** Has fired in the running `expire`. */
  fired = false;

  constructor(name: string, onExpire: (nowNs: number) => void, changed: () => void) {
    this.name = name;
    this.onExpire = onExpire;
    this.#changed = changed;
  }

  get deadlineNs(): number | undefined {
    return this.deadline === NEVER ? undefined : this.deadline;
  }

  arm(deadlineNs: number): void {
    invariant(!Number.isNaN(deadlineNs), `timer ${this.name} is armed with a number`);
    this.deadline = deadlineNs;
    this.#changed();
  }

  cancel(): void {
    this.deadline = NEVER;
    this.#changed();
  }
}
