/**
 * The one door: everything from outside enters the guest here, at an instruction boundary between two slices, and is
 * stamped with the instruction number. Recording is this door written down; the newest entries are kept in a ring.
 *
 * Deterministic machines draw randomness from the seed, start at a fixed wall-clock time, and stand still while outside
 * work is under way: its results enter in the order of submission at the instruction that asked for it.
 */
import { randomFillSync } from "node:crypto";
import type { Inputs, Outcome } from "../devices/device.js";
import { invariant } from "../errors.js";

/** Wall clock of deterministic machines: 2024-01-01T00:00:00Z. */
export const SEEDED_POWER_ON_MS = Date.UTC(2024, 0, 1);
const LOG_ENTRIES = 1024;
/** A channel on which the guest has left this many bytes unread has no room for more. */
const ROOM_BYTES = 64 * 1024;

/** One thing that entered the guest. */
export interface InputRecord {
  readonly instructions: number;
  readonly kind: "random" | "completion" | "bytes" | "request" | "anchor";
  readonly name: string;
  /** Bytes, or nanoseconds of an anchor. */
  readonly amount: number;
}

export interface InputOptions {
  /** Makes the machine deterministic. */
  readonly seed?: number;
  /** Current instruction number. */
  readonly position: () => number;
  /** Told that something waits at the door; the run loop may be asleep. */
  readonly onArrival: () => void;
  /** Told when a device throws while it takes an input: a bug, contained. */
  readonly onFault: (device: string, error: unknown) => void;
}

interface Waiting {
  readonly kind: InputRecord["kind"];
  readonly name: string;
  readonly amount: number;
  apply(): void;
}

/** A device at the end of a channel. */
interface Channel {
  deliver(bytes: Uint8Array): void;
  waitingBytes(): number;
  /** Bytes at the door, not delivered yet. */
  arrivedBytes: number;
  /** Who waits for room. */
  readonly senders: (() => void)[];
}

/** Outside work under way; `ready` is set when it has ended. */
interface Operation {
  ready: Waiting | undefined;
}

export class MachineInputs implements Inputs {
  readonly #options: InputOptions;
  readonly #random: ((target: Uint8Array) => void) | undefined;
  readonly #powerOnMs: number;
  readonly #channels = new Map<string, Channel>();
  readonly #log: InputRecord[] = [];
  #logged = 0;
  #waiting: Waiting[] = [];
  readonly #operations: Operation[] = [];

  constructor(options: InputOptions) {
    this.#options = options;
    this.#random = options.seed === undefined ? undefined : seededRandom(options.seed);
    this.#powerOnMs = options.seed === undefined ? Date.now() : SEEDED_POWER_ON_MS;
  }

  random(target: Uint8Array): void {
    if (this.#random === undefined) randomFillSync(target);
    else this.#random(target);
    this.record("random", "random", target.length);
  }

  wallClockAtPowerOnMs(): number {
    return this.#powerOnMs;
  }

  whenDone<T>(operation: Promise<T>, deliver: (outcome: Outcome<T>) => void): void {
    const entry: Operation = { ready: undefined };
    this.#operations.push(entry);
    const settle = (outcome: Outcome<T>) => {
      entry.ready = { kind: "completion", name: "operation", amount: 0, apply: () => deliver(outcome) };
      if (this.#options.seed === undefined) {
        this.#operations.splice(this.#operations.indexOf(entry), 1);
        this.#arrive(entry.ready);
      } else {
        this.#arriveInOrder();
      }
    };
    operation.then(
      (value) => settle({ ok: true, value }),
      (error: unknown) => settle({ ok: false, error }),
    );
  }

  onBytes(channel: string, deliver: (bytes: Uint8Array) => void, waitingBytes: () => number): void {
    invariant(!this.#channels.has(channel), `two devices listen on channel ${channel}`);
    this.#channels.set(channel, { deliver, waitingBytes, arrivedBytes: 0, senders: [] });
  }

  /** Sends bytes to a channel's device; false when nothing listens there. */
  send(channel: string, bytes: Uint8Array): boolean {
    const device = this.#channels.get(channel);
    if (device === undefined) return false;
    device.arrivedBytes += bytes.length;
    const apply = () => {
      device.arrivedBytes -= bytes.length;
      device.deliver(bytes);
    };
    this.#arrive({ kind: "bytes", name: channel, amount: bytes.length, apply });
    return true;
  }

  /** Resolves when the guest has taken most of what was sent to the channel; at once where nothing listens. */
  room(channel: string): Promise<void> {
    const device = this.#channels.get(channel);
    if (device === undefined || hasRoom(device)) return Promise.resolve();
    return new Promise((resolve) => device.senders.push(resolve));
  }

  /** Asks something of the machine from outside (a pressed button); done at the next boundary. */
  request(name: string, apply: () => void): void {
    this.#arrive({ kind: "request", name, amount: 0, apply });
  }

  /** True when something waits at the door. */
  get pending(): boolean {
    return this.#waiting.length > 0;
  }

  /** True while a deterministic machine must stand still for outside work. */
  get blocked(): boolean {
    return this.#options.seed !== undefined && this.#operations.length > 0;
  }

  /** Lets in what waits. Called by the run loop at a boundary. */
  deliver(): void {
    for (const device of this.#channels.values()) {
      if (device.senders.length > 0 && hasRoom(device)) for (const resume of device.senders.splice(0)) resume();
    }
    if (this.#waiting.length === 0) return;
    const arrivals = this.#waiting;
    this.#waiting = [];
    for (const arrival of arrivals) {
      this.record(arrival.kind, arrival.name, arrival.amount);
      try {
        arrival.apply();
      } catch (error) {
        this.#options.onFault(arrival.name, error);
      }
    }
  }

  /** Notes that something entered the guest. */
  record(kind: InputRecord["kind"], name: string, amount: number): void {
    this.#log[this.#logged % LOG_ENTRIES] = { instructions: this.#options.position(), kind, name, amount };
    this.#logged += 1;
  }

  /** The newest entries, oldest first. */
  log(): InputRecord[] {
    const start = this.#logged % LOG_ENTRIES;
    return this.#logged <= LOG_ENTRIES ? this.#log.slice() : [...this.#log.slice(start), ...this.#log.slice(0, start)];
  }

  #arrive(arrival: Waiting): void {
    this.#waiting.push(arrival);
    this.#options.onArrival();
  }

  #arriveInOrder(): void {
    for (let first = this.#operations[0]; first?.ready !== undefined; first = this.#operations[0]) {
      this.#operations.shift();
      this.#arrive(first.ready);
    }
  }
}

function hasRoom({ arrivedBytes, waitingBytes }: Channel): boolean {
  return arrivedBytes + waitingBytes() < ROOM_BYTES;
}

/** xorshift128 (Marsaglia 2003, "Xorshift RNGs"), its state spread from the seed by a multiplicative hash. */
function seededRandom(seed: number): (target: Uint8Array) => void {
  const state = new Uint32Array(4);
  let hash = (seed % 2 ** 32) ^ Math.floor(seed / 2 ** 32);
  for (let word = 0; word < 4; word++) {
    hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b) + 0x9e3779b9;
    state[word] = hash | 1;
  }
  const next = (): number => {
    const [x = 0, y = 0, z = 0, w = 0] = state;
    const mixed = x ^ (x << 11);
    state.set([y, z, w, w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8)]);
    return state[3] ?? 0;
  };
  return (target) => {
    for (let offset = 0; offset < target.length; offset += 4) {
      const word = next();
      for (let byte = 0; byte < 4 && offset + byte < target.length; byte++)
        target[offset + byte] = (word >>> (8 * byte)) & 0xff;
    }
  };
}
