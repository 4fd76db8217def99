/**
 * The addon's machine as an `Engine`: numbers to halves, text to registers, thrown messages to VmError.
 * Holds the exit page, a view that only this file and the addon see.
 */
import { VmError, type VmErrorCode } from "../errors.js";
import type { ApicMessage, Engine, EngineOptions, EngineStats, ExitKind, ExitPage, Registers } from "./engine.js";
import { type Addon, loadAddon, type RawMachine } from "./load.js";

/** Words of the exit page; the same list stands in `crates/napi/src/exit_page.rs`. */
const WORD = {
  kind: 0,
  vcpu: 1,
  isWrite: 2,
  size: 3,
  address: 4,
  data: 6,
  detail: 8,
  instructions: 9,
  guestNs: 11,
  wakeDeadlineNs: 13,
  quantum: 16,
  deadlineNs: 17,
} as const;
const EXIT_PAGE_WORDS = 24;
const TWO_32 = 2 ** 32;
const ALL_ONES = 0xffff_ffff;

/** What the addon says of itself. */
export interface EngineInfo {
  readonly version: string;
  /** Processor architecture and operating system it was built for, as Rust names them. */
  readonly arch: string;
  readonly os: string;
  readonly engines: readonly string[];
  readonly cpuModels: readonly string[];
  /** Features of the host's processor that an engine can use, by their usual names; guests never see them. */
  readonly hostFeatures: readonly string[];
}

/**
 * Creates a machine: RAM is reserved, nothing is mapped, all vCPUs are in power-on reset.
 * @throws VmError VM_ADDON_MISSING or VM_ADDON_FAILED (no addon), VM_CPU_UNKNOWN (model or feature), VM_ENGINE_UNAVAILABLE,
 *   VM_MEMORY_TOO_SMALL (the host refuses the reservation).
 */
export function createEngine(options: EngineOptions): Engine {
  return new AddonEngine(loadAddon().addon, options);
}

/** @throws VmError VM_ADDON_MISSING or VM_ADDON_FAILED. */
export function engineInfo(): EngineInfo & { readonly origin: string } {
  const { addon, origin } = loadAddon();
  return { ...(JSON.parse(addon.engineInfo()) as EngineInfo), origin };
}

/** Registers cross as JSON whose 64-bit values are "0x" strings. */
export function registersToJson(registers: Registers): string {
  return JSON.stringify(registers, (_key, value: unknown) =>
    typeof value === "bigint" ? `0x${BigInt.asUintN(64, value).toString(16)}` : value,
  );
}

export function registersFromJson(text: string): Registers {
  return JSON.parse(text, (_key, value: unknown) =>
    typeof value === "string" && value.startsWith("0x") ? BigInt(value) : value,
  ) as Registers;
}

/** What to do about errors of the addon's that a user can cause. */
const HINTS: Partial<Record<VmErrorCode, string>> = {
  VM_CPU_UNKNOWN: "write --cpu MODEL[,vendor=V][,+feature][,-feature]; `vmdeck doctor` lists the models",
  VM_CONFIG_INVALID: "the host may refuse this much address space; give the guest less memory with -m/--memory",
};

/** The addon's messages are "CODE: text". */
function asVmError(error: unknown): VmError {
  const message = error instanceof Error ? error.message : String(error);
  const [, code, text] = /^(VM_[A-Z_]+): (.*)$/s.exec(message) ?? [];
  if (code === undefined || text === undefined) return new VmError("VM_INTERNAL", message, { cause: error });
  const hint = HINTS[code as VmErrorCode];
  return new VmError(code as VmErrorCode, text, hint === undefined ? { cause: error } : { cause: error, hint });
}

class SharedExitPage implements ExitPage {
  readonly #words: Uint32Array;

  constructor(words: Uint32Array) {
    this.#words = words;
  }

  get isWrite(): boolean {
    return this.#words[WORD.isWrite] !== 0;
  }
  get size(): number {
    return this.#words[WORD.size] ?? 0;
  }
  get address(): number {
    return this.#wide(WORD.address);
  }
  get dataLow(): number {
    return this.#words[WORD.data] ?? 0;
  }
  get dataHigh(): number {
    return this.#words[WORD.data + 1] ?? 0;
  }
  get detail(): number {
    return this.#words[WORD.detail] ?? 0;
  }
  get instructions(): number {
    return this.#wide(WORD.instructions);
  }
  get guestNs(): number {
    return this.#wide(WORD.guestNs);
  }
  get wakeDeadlineNs(): number {
    const never = this.#words[WORD.wakeDeadlineNs] === ALL_ONES && this.#words[WORD.wakeDeadlineNs + 1] === ALL_ONES;
    return never ? Number.POSITIVE_INFINITY : this.#wide(WORD.wakeDeadlineNs);
  }

  answer(low: number, high: number): void {
    this.#words[WORD.data] = low;
    this.#words[WORD.data + 1] = high;
  }

  #wide(word: number): number {
    return (this.#words[word + 1] ?? 0) * TWO_32 + (this.#words[word] ?? 0);
  }
}

class AddonEngine implements Engine {
  readonly exit: ExitPage;
  readonly #raw: RawMachine;
  readonly #words: Uint32Array;
  readonly #run: () => void;

  constructor(addon: Addon, options: EngineOptions) {
    // On a buffer of its own: V8 keeps small arrays without one inside its heap, where they move.
    const words = new Uint32Array(new ArrayBuffer(EXIT_PAGE_WORDS * Uint32Array.BYTES_PER_ELEMENT));
    this.#words = words;
    this.exit = new SharedExitPage(words);
    try {
      this.#raw = new addon.NativeMachine(JSON.stringify(options), words);
      this.#run = this.#raw.runner();
    } catch (error) {
      throw asVmError(error);
    }
  }

  run(vcpu: number, quantum: number, deadlineNs: number): ExitKind {
    // The only call on the exit path: no closure, no allocation, no remainder of floats.
    const words = this.#words;
    words[WORD.vcpu] = vcpu;
    words[WORD.quantum] = quantum;
    if (deadlineNs < Number.MAX_SAFE_INTEGER) {
      const deadline = Math.max(0, Math.ceil(deadlineNs));
      const high = Math.floor(deadline / TWO_32);
      words[WORD.deadlineNs] = deadline - high * TWO_32;
      words[WORD.deadlineNs + 1] = high;
    } else {
      words[WORD.deadlineNs] = ALL_ONES;
      words[WORD.deadlineNs + 1] = ALL_ONES;
    }
    try {
      this.#run();
    } catch (error) {
      throw asVmError(error);
    }
    return words[WORD.kind] as ExitKind;
  }

  kick(): void {
    this.#raw.kick();
  }
  lastError(): string {
    return this.#raw.lastError();
  }

  mapRam(address: number, length: number, ramOffset: number): void {
    this.#call(() => this.#raw.mapRam(address, length, ramOffset));
  }
  mapRom(address: number, length: number, ramOffset: number): void {
    this.#call(() => this.#raw.mapRom(address, length, ramOffset));
  }
  mapReadDirect(address: number, length: number, ramOffset: number): void {
    this.#call(() => this.#raw.mapReadDirect(address, length, ramOffset));
  }
  mapMmio(address: number, length: number): void {
    this.#call(() => this.#raw.mapMmio(address, length));
  }
  readMemory(address: number, target: Uint8Array): boolean {
    return this.#raw.readMemory(address, target);
  }
  writeMemory(address: number, source: Uint8Array): boolean {
    return this.#raw.writeMemory(address, source);
  }

  guestNs(): number {
    return this.#raw.guestNs();
  }
  instructions(): number {
    return this.#raw.instructions();
  }
  anchorClock(ns: number, picosecondsPerInstruction: number): void {
    this.#call(() => this.#raw.anchorClock(ns, picosecondsPerInstruction));
  }

  setIntr(vcpu: number, high: boolean): void {
    this.#raw.setIntr(vcpu, high);
  }
  deliver(message: ApicMessage): boolean {
    return this.#raw.deliver(
      message.destination,
      message.logical,
      message.deliveryMode,
      message.vector,
      message.levelTriggered,
    );
  }
  nmi(vcpu: number): void {
    this.#raw.nmi(vcpu);
  }

  registers(vcpu: number): Registers {
    return registersFromJson(this.#call(() => this.#raw.registersJson(vcpu)));
  }
  setRegisters(vcpu: number, registers: Registers): void {
    this.#call(() => this.#raw.setRegistersJson(vcpu, registersToJson(registers)));
  }
  enterVirtualWire(): void {
    this.#call(() => this.#raw.enterVirtualWire());
  }
  reset(): void {
    this.#call(() => this.#raw.reset());
  }
  stats(): EngineStats {
    return JSON.parse(this.#call(() => this.#raw.statsJson())) as EngineStats;
  }
  dump(vcpu: number): string {
    return this.#call(() => this.#raw.dump(vcpu));
  }
  close(): void {
    this.#call(() => this.#raw.close());
  }

  #call<T>(operation: () => T): T {
    try {
      return operation();
    } catch (error) {
      throw asVmError(error);
    }
  }
}
