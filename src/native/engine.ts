/**
 * The typed face of the processor: the few dozen calls that TypeScript makes of the addon, shaped like KVM's.
 * Everything here is implemented by `crates/napi`; nothing outside `native/` imports the addon itself.
 *
 * `run` returns on every exit. What happened stands in the exit page; for a read the answer is stored there
 * (`answer`), and the next `run` resumes. Physical addresses are numbers below 2^52; counts and times cross as
 * two 32-bit halves, so that nothing is allocated on the exit path.
 */

/** Why `run` returned. The numbers are the addon's. */
export const EXIT = {
  /** A port access: `direction`, `size`, `address` (port), `data` (for a write; an answer is due for a read). */
  io: 0,
  /** An access to physical memory that is no RAM: as `io`, `address` is guest-physical. Sizes 1, 2, 4, 8. */
  mmio: 1,
  /** The vCPU halted with nothing deliverable; `wakeDeadlineNs` tells when its own timer will wake it. */
  hlt: 2,
  /** The 8259's INTR was accepted: `answer` with the vector. */
  intack: 3,
  /** End of interrupt of a level-triggered vector: `detail` is the vector, for the IOAPIC. */
  eoi: 4,
  /** The kick word was set (`Engine.kick`), from any thread. */
  kick: 5,
  /** The instruction quantum or the deadline was reached. */
  budget: 6,
  /** A debug event (breakpoint or single-step of the host's making). */
  debug: 7,
  /** Triple fault: the vCPU is in shutdown. Registers are as at the third fault. */
  shutdown: 8,
  /** The engine met its own limit; `lastError()` says what. Not resumable. */
  error: 9,
} as const;
export type ExitKind = (typeof EXIT)[keyof typeof EXIT];
export const EXIT_NAMES = [
  "io",
  "mmio",
  "hlt",
  "intack",
  "eoi",
  "kick",
  "budget",
  "debug",
  "shutdown",
  "error",
] as const;

/** What happened at the last exit, read from (and answered into) the page shared with the addon. */
export interface ExitPage {
  readonly isWrite: boolean;
  /** Width of the access in bytes: 1, 2, 4 or (mmio only) 8. */
  readonly size: number;
  /** Port number or guest-physical address. */
  readonly address: number;
  /** Low and high 32 bits of the data written, unsigned. */
  readonly dataLow: number;
  readonly dataHigh: number;
  /** Exit-specific number (vector). */
  readonly detail: number;
  /** Instructions retired since power-on (exact below 2^53). */
  readonly instructions: number;
  /** Guest time in nanoseconds at the exit. */
  readonly guestNs: number;
  /** Guest time at which the vCPU's own timer fires next; Infinity when it is not armed. */
  readonly wakeDeadlineNs: number;
  /** Stores the answer to a read or intack; taken by the next `run`. */
  answer(low: number, high: number): void;
}

export interface EngineOptions {
  /** Bytes of guest RAM, a multiple of 4096. */
  readonly memoryBytes: number;
  readonly cpus: number;
  /** A frozen CPU model, "x86-64-v2@1". */
  readonly cpuModel: string;
  /** CPUID vendor string, 12 ASCII characters. */
  readonly vendor: string;
  /** CPUID feature overrides by the Linux flag name ("aes"), true to add and false to remove. */
  readonly features: readonly { readonly name: string; readonly enabled: boolean }[];
  /** "interp" is the one engine of this version. */
  readonly engine: string;
}

/** A segment register with its hidden part. `attributes` is bits 8..15 and 20..23 of the descriptor's high word, shifted down by 8 (type, S, DPL, P, AVL, L, D, G as in VMX access rights); bit 16 set means unusable (null). */
export interface SegmentRegister {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  readonly attributes: number;
}

export interface TableRegister {
  readonly base: bigint;
  readonly limit: number;
}

/** Architectural registers of one vCPU; 64-bit values as bigint. Not for hot paths. */
export interface Registers {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15, in encoding order. */
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly cr8: bigint;
  readonly efer: bigint;
  readonly apicBase: bigint;
  /** es cs ss ds fs gs ldtr tr, in that order. */
  readonly segments: readonly SegmentRegister[];
  readonly gdtr: TableRegister;
  readonly idtr: TableRegister;
}

/** Engine counters since power-on. */
export interface EngineStats {
  /** Instructions retired. */
  readonly instructions: number;
  readonly interruptsDelivered: number;
  readonly exceptionsDelivered: number;
  readonly blocksDecoded: number;
  readonly blocksInvalidated: number;
  readonly tlbMisses: number;
  /** Exits by kind, indexed as EXIT_NAMES. */
  readonly exits: readonly number[];
}

/** A message on the system bus to the Local APICs (MSI, IOAPIC, IPI): SDM 3A, 11.11. */
export interface ApicMessage {
  readonly destination: number;
  readonly logical: boolean;
  /** Delivery mode 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 STARTUP, 7 ExtINT. */
  readonly deliveryMode: number;
  readonly vector: number;
  readonly levelTriggered: boolean;
}

/** One machine's processors and RAM. Calls are synchronous; calling in while `run` is on the stack is an error. */
export interface Engine {
  readonly exit: ExitPage;
  /**
   * Runs a vCPU until an exit: at most `quantum` instructions (1..2^31-1), and not past guest time `deadlineNs`
   * (Infinity for none).
   */
  run(vcpu: number, quantum: number, deadlineNs: number): ExitKind;
  /** Makes the running or next `run` return EXIT.kick at its next quantum boundary. */
  kick(): void;
  /** Text of the last EXIT.error. */
  lastError(): string;

  /** Maps `length` bytes of RAM from `ramOffset` at guest-physical `address`; all multiples of 4096. Aliases are allowed. */
  mapRam(address: number, length: number, ramOffset: number): void;
  /** As mapRam, but guest writes vanish. */
  mapRom(address: number, length: number, ramOffset: number): void;
  /** Reads are direct, writes exit as mmio (flash). */
  mapReadDirect(address: number, length: number, ramOffset: number): void;
  /** Accesses exit as mmio (the state of every address at power-on). */
  mapMmio(address: number, length: number): void;
  /** Copies out of RAM or ROM; false if any byte is neither. */
  readMemory(address: number, target: Uint8Array): boolean;
  /** Copies into RAM through the one write path; false (nothing written) if any byte is not RAM. */
  writeMemory(address: number, source: Uint8Array): boolean;

  /** Current position of the clock: ns of guest time at the current instruction. */
  guestNs(): number;
  /** Instructions retired since power-on. */
  instructions(): number;
  /** Starts a new piece of the guest clock here: time `ns` (never below guestNs()), then `picosecondsPerInstruction`. */
  anchorClock(ns: number, picosecondsPerInstruction: number): void;

  /** Level of the 8259's INTR wire to the vCPU's LINT0. */
  setIntr(vcpu: number, high: boolean): void;
  /** Delivers a message to the Local APICs; false if none accepted it. */
  deliver(message: ApicMessage): boolean;
  /** Pulses the NMI wire (LINT1). */
  nmi(vcpu: number): void;

  registers(vcpu: number): Registers;
  setRegisters(vcpu: number, registers: Registers): void;
  /**
   * Leaves the Local APICs as firmware does (virtual wire: enabled, the 8259 on LINT0, NMI on LINT1); for boots
   * that enter a kernel without firmware, after `reset` and `setRegisters`.
   */
  enterVirtualWire(): void;
  /** Power-on reset of all vCPUs and their Local APICs; memory and the clock stay. */
  reset(): void;
  stats(): EngineStats;
  /** Human-readable register dump for crash reports. */
  dump(vcpu: number): string;
  /** Frees RAM and all else; every later call throws. */
  close(): void;
}
