/**
 * What a device is and all it may see: the `DeviceContext`. Devices never see the machine, the host's clock,
 * timers, files or sockets; everything from outside the guest reaches them through `inputs` (the one door).
 */

/** Plain JSON value: saved state is self-describing and holds nothing of the host. Bytes are base64 strings. */
export type StateValue =
  | null
  | boolean
  | number
  | string
  | readonly StateValue[]
  | { readonly [key: string]: StateValue };

/** A device's saved state: `version` is the format's, raised whenever its shape changes. */
export type DeviceState = { readonly version: number; readonly [key: string]: StateValue };

/** Every device: a name unique in its machine, power-on reset, and saved state apart from live state. */
export interface Device {
  readonly name: string;
  /** Power-on (or system) reset. */
  reset(): void;
  save(): DeviceState;
  /** Restores what `save` returned. Throws VmError VM_CONFIG_INVALID for a version it does not know. */
  load(state: DeviceState): void;
}

/** One interrupt source's hand on a (possibly shared) line: the line is high while any source holds it high. */
export interface IrqPin {
  set(high: boolean): void;
}

/** A one-shot timer in guest time. */
export interface GuestTimer {
  /** Fires once at `deadlineNs` of guest time (re-arming replaces the deadline). A past deadline fires at the next boundary. */
  arm(deadlineNs: number): void;
  cancel(): void;
  /** The armed deadline in guest nanoseconds, or undefined. */
  readonly deadlineNs: number | undefined;
}

/** Guest time: nanoseconds since power-on, piecewise linear in retired instructions, never going backwards. */
export interface GuestClock {
  nowNs(): number;
  /** `name` is unique in the machine and stable across versions (it orders equal deadlines and names saved timers). */
  timer(name: string, onExpire: (nowNs: number) => void): GuestTimer;
}

/** Guest-physical memory as devices reach it: RAM only, checked copies, through the one write path. */
export interface GuestMemory {
  /** Copies guest RAM into `target`; false (and `target` unspecified) if any byte is not RAM. Never throws. */
  read(address: number, target: Uint8Array): boolean;
  /** Copies `source` into guest RAM; false (and nothing written) if any byte is not writable RAM. Never throws. */
  write(address: number, source: Uint8Array): boolean;
}

/** Message-signalled interrupts: a write of `data` to the physical `address` (PCI 3.0, 6.8). */
export interface MsiSink {
  send(address: number, data: number): void;
}

/** Outcome of work done outside the guest. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

/** The one door: everything that enters the guest from outside, each stamped with the instruction number. */
export interface Inputs {
  /** Fills `target` with bytes from the machine's seeded (or host's) random source. */
  random(target: Uint8Array): void;
  /** Host wall-clock time in milliseconds since 1970-01-01 UTC, as it was when the machine was powered on. */
  wallClockAtPowerOnMs(): number;
  /** Hands the result of outside work to the guest at an instruction boundary of a later slice. */
  whenDone<T>(operation: Promise<T>, deliver: (outcome: Outcome<T>) => void): void;
  /**
   * Receives bytes sent from outside to the channel of this name ("serial0", "console0", ...). `waitingBytes` tells how
   * many of them the guest has not taken yet: senders stop while they are many.
   */
  onBytes(channel: string, deliver: (bytes: Uint8Array) => void, waitingBytes: () => number): void;
}

/** Requests a device makes of the machine as a whole. */
export interface PowerControl {
  /** S5 soft off. */
  powerOff(): void;
  /** Platform reset (0xCF9, 0x64 pulse, ACPI reset register). */
  reset(reason: string): void;
  /** isa-debug-exit: ends the VM with this status. */
  exit(status: number): void;
}

/** All a device may see. */
export interface DeviceContext {
  readonly memory: GuestMemory;
  readonly clock: GuestClock;
  readonly inputs: Inputs;
  readonly msi: MsiSink;
  readonly power: PowerControl;
  /** A hand on global system interrupt `gsi` (0..23; ISA interrupts are 0..15). */
  irq(gsi: number): IrqPin;
  /** Reports guest misuse or a device's own trouble for the log; rate-limited, never thrown. */
  warn(device: string, message: string): void;
}
