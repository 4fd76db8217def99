/**
 * A DeviceContext in virtual time for unit tests: the clock moves only when told to, RAM is a byte array behind limit
 * checks, and everything a device does to its surroundings (interrupt levels, messages, power requests) is recorded.
 * Nothing here knows a device; no host time, no host randomness.
 */

import type {
  DeviceContext,
  GuestClock,
  GuestMemory,
  GuestTimer,
  Inputs,
  IrqPin,
  MsiSink,
  Outcome,
  PowerControl,
} from "../../src/devices/device.js";
import { invariant } from "../../src/errors.js";

/** A settable clock; timers fire in order of (deadline, name) as time passes their deadlines. */
export class VirtualClock implements GuestClock {
  readonly #timers = new Map<string, VirtualTimer>();
  #nowNs: number;

  constructor(startNs = 0) {
    this.#nowNs = startNs;
  }

  nowNs(): number {
    return this.#nowNs;
  }

  /**
   * Creates a timer. A name taken by an armed timer is refused, so that a second device under test
   * (a save/load round trip) can share the clock once the first has been put down.
   */
  timer(name: string, onExpire: (nowNs: number) => void): GuestTimer {
    invariant(this.#timers.get(name)?.deadlineNs === undefined, `timer ${name} is created while its namesake is armed`);
    const timer = new VirtualTimer(name, onExpire);
    this.#timers.set(name, timer);
    return timer;
  }

  /** Moves time forward by `ns`, firing what is due on the way, each at its own deadline. */
  advance(ns: number): void {
    this.advanceTo(this.#nowNs + ns);
  }

  /** Moves time forward to `targetNs`, firing what is due on the way, each at its own deadline. */
  advanceTo(targetNs: number): void {
    invariant(targetNs >= this.#nowNs, "virtual time never goes backwards");
    for (let next = this.#earliest(targetNs); next !== undefined; next = this.#earliest(targetNs)) {
      this.#nowNs = Math.max(this.#nowNs, next.deadlineNs ?? 0);
      next.fire(this.#nowNs);
    }
    this.#nowNs = targetNs;
  }

  /** Jumps forward without firing anything, as if the guest ran on before the timers were looked at. */
  skipTo(targetNs: number): void {
    invariant(targetNs >= this.#nowNs, "virtual time never goes backwards");
    this.#nowNs = targetNs;
  }

  /** The earliest armed deadline, or undefined when nothing is armed. */
  nextDeadlineNs(): number | undefined {
    return this.#earliest(Number.POSITIVE_INFINITY)?.deadlineNs;
  }

  /** Names of the armed timers, sorted. */
  armed(): string[] {
    return [...this.#timers.values()]
      .filter((timer) => timer.deadlineNs !== undefined)
      .map((timer) => timer.name)
      .sort();
  }

  /** Disarms everything: the device under test is switched off. */
  cancelAll(): void {
    for (const timer of this.#timers.values()) timer.cancel();
  }

  #earliest(limitNs: number): VirtualTimer | undefined {
    let earliest: VirtualTimer | undefined;
    let earliestNs = limitNs;
    for (const timer of this.#timers.values()) {
      const deadlineNs = timer.deadlineNs;
      if (deadlineNs === undefined || deadlineNs > earliestNs) continue;
      if (earliest !== undefined && deadlineNs === earliestNs && timer.name > earliest.name) continue;
      earliest = timer;
      earliestNs = deadlineNs;
    }
    return earliest;
  }
}

class VirtualTimer implements GuestTimer {
  readonly name: string;
  readonly #onExpire: (nowNs: number) => void;
  #deadlineNs: number | undefined;

  constructor(name: string, onExpire: (nowNs: number) => void) {
    this.name = name;
    this.#onExpire = onExpire;
  }

  get deadlineNs(): number | undefined {
    return this.#deadlineNs;
  }

  arm(deadlineNs: number): void {
    invariant(Number.isFinite(deadlineNs), `timer ${this.name} is armed at ${deadlineNs}`);
    this.#deadlineNs = deadlineNs;
  }

  cancel(): void {
    this.#deadlineNs = undefined;
  }

  fire(nowNs: number): void {
    this.#deadlineNs = undefined;
    this.#onExpire(nowNs);
  }
}

/** A stretch of guest RAM: `bytes` answers at physical `base`. */
export interface RamRegion {
  readonly base: number;
  readonly bytes: Uint8Array;
  readonly writable: boolean;
}

/** RAM made of separate regions; a copy must lie inside one of them, whole. */
export class VirtualMemory implements GuestMemory {
  readonly #regions: RamRegion[] = [];

  constructor(sizeBytes: number) {
    this.addRegion(0, sizeBytes);
  }

  /** Adds a region; returns its bytes for direct inspection by the test. */
  addRegion(base: number, sizeBytes: number, writable = true): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.#regions.push({ base, bytes, writable });
    return bytes;
  }

  read(address: number, target: Uint8Array): boolean {
    const region = this.#find(address, target.length);
    if (region === undefined) return false;
    target.set(region.bytes.subarray(address - region.base, address - region.base + target.length));
    return true;
  }

  write(address: number, source: Uint8Array): boolean {
    const region = this.#find(address, source.length);
    if (region === undefined || !region.writable) return false;
    region.bytes.set(source, address - region.base);
    return true;
  }

  /** The bytes at `address`, copied; fails the test when they are not RAM. */
  bytesAt(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    invariant(this.read(address, bytes), `no RAM at 0x${address.toString(16)}`);
    return bytes;
  }

  #find(address: number, length: number): RamRegion | undefined {
    return this.#regions.find((r) => address >= r.base && address + length <= r.base + r.bytes.length);
  }
}

/** The one door, with the test outside it: nothing enters the guest before `send` or `flush`. */
export class VirtualInputs implements Inputs {
  readonly #receivers = new Map<string, (bytes: Uint8Array) => void>();
  readonly #settled: (() => void)[] = [];
  #pending = 0;
  #seed: number;
  #wallClockMs: number;

  constructor(seed: number, wallClockMs: number) {
    this.#seed = seed >>> 0;
    this.#wallClockMs = wallClockMs;
  }

  random(target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.#nextRandom() >>> 24;
  }

  wallClockAtPowerOnMs(): number {
    return this.#wallClockMs;
  }

  whenDone<T>(operation: Promise<T>, deliver: (outcome: Outcome<T>) => void): void {
    this.#pending += 1;
    operation.then(
      (value) => this.#settled.push(() => deliver({ ok: true, value })),
      (error: unknown) => this.#settled.push(() => deliver({ ok: false, error })),
    );
  }

  onBytes(channel: string, deliver: (bytes: Uint8Array) => void): void {
    this.#receivers.set(channel, deliver);
  }

  /** Sends bytes (text is sent as UTF-8) from outside to the channel. */
  send(channel: string, bytes: Uint8Array | string): void {
    const deliver = this.#receivers.get(channel);
    invariant(deliver !== undefined, `nobody listens to the channel ${channel}`);
    deliver(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  }

  setWallClockMs(wallClockMs: number): void {
    this.#wallClockMs = wallClockMs;
  }

  /** Operations handed to `whenDone` and not yet delivered. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Waits until every outstanding operation has settled and delivers the outcomes in the order they settled,
   * those that deliveries start included.
   */
  async flush(): Promise<void> {
    while (this.#pending > 0) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      for (let deliver = this.#settled.shift(); deliver !== undefined; deliver = this.#settled.shift()) {
        this.#pending -= 1;
        deliver();
      }
    }
  }

  /** The linear congruential generator of Knuth's MMIX, cut to 32 bits: repeatable, nothing more is asked of it. */
  #nextRandom(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return this.#seed;
  }
}

/** A change of a line's level. */
export interface IrqEdge {
  readonly gsi: number;
  readonly high: boolean;
  readonly atNs: number;
}

export interface MsiMessage {
  readonly address: number;
  readonly data: number;
}

export type PowerEvent =
  | { readonly kind: "power-off" }
  | { readonly kind: "reset"; readonly reason: string }
  | { readonly kind: "exit"; readonly status: number };

export interface VirtualContextOptions {
  /** Bytes of RAM at address 0; 1 MiB unless told. */
  readonly memoryBytes?: number;
  readonly seed?: number;
  /** Milliseconds since 1970; 2024-01-02 03:04:05 UTC unless told. */
  readonly wallClockMs?: number;
}

/** All a device may see, in virtual time, recorded. */
export class VirtualContext implements DeviceContext {
  readonly clock = new VirtualClock();
  readonly memory: VirtualMemory;
  readonly inputs: VirtualInputs;
  /** Every change of level of every line, in order. */
  readonly irqEdges: IrqEdge[] = [];
  readonly msiMessages: MsiMessage[] = [];
  readonly powerEvents: PowerEvent[] = [];
  readonly warnings: { readonly device: string; readonly message: string }[] = [];
  readonly #holders = new Map<number, Set<object>>();

  readonly msi: MsiSink = {
    send: (address, data) => {
      this.msiMessages.push({ address, data });
    },
  };

  readonly power: PowerControl = {
    powerOff: () => {
      this.powerEvents.push({ kind: "power-off" });
    },
    reset: (reason) => {
      this.powerEvents.push({ kind: "reset", reason });
    },
    exit: (status) => {
      this.powerEvents.push({ kind: "exit", status });
    },
  };

  constructor(options: VirtualContextOptions = {}) {
    this.memory = new VirtualMemory(options.memoryBytes ?? 1 << 20);
    this.inputs = new VirtualInputs(options.seed ?? 1, options.wallClockMs ?? 1_704_164_645_000);
  }

  irq(gsi: number): IrqPin {
    invariant(Number.isInteger(gsi) && gsi >= 0 && gsi < 24, `there is no interrupt line ${gsi}`);
    const holders = this.#holders.get(gsi) ?? new Set<object>();
    this.#holders.set(gsi, holders);
    const pin: IrqPin = {
      set: (high) => {
        const before = holders.size > 0;
        if (high) holders.add(pin);
        else holders.delete(pin);
        const after = holders.size > 0;
        if (before !== after) this.irqEdges.push({ gsi, high: after, atNs: this.clock.nowNs() });
      },
    };
    return pin;
  }

  /** Switches the devices off: no timer is armed any more and no line is held. A new device may take their place. */
  switchOff(): void {
    this.clock.cancelAll();
    for (const [gsi, holders] of this.#holders) {
      if (holders.size > 0) this.irqEdges.push({ gsi, high: false, atNs: this.clock.nowNs() });
      holders.clear();
    }
  }

  warn(device: string, message: string): void {
    this.warnings.push({ device, message });
  }

  /** Level of the wired-OR line now. */
  irqLevel(gsi: number): boolean {
    return (this.#holders.get(gsi)?.size ?? 0) > 0;
  }

  /** How often the line has risen. */
  risingEdges(gsi: number): number {
    return this.irqEdges.filter((edge) => edge.gsi === gsi && edge.high).length;
  }
}
