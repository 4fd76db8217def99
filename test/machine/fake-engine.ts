/**
 * An engine without a processor: `run` takes the next scripted exit. Guest time passes by instructions as in the real
 * one, so that clocks and timers can be tested.
 */
import type { ApicMessage, Engine, EngineStats, ExitKind, Registers } from "../../src/native/engine.js";
import { EXIT } from "../../src/native/engine.js";

/** What a scripted exit puts into the exit page. */
export interface ScriptedExit {
  readonly kind: ExitKind;
  /** Instructions retired before it; a whole quantum for budget exits, else 1, unless given. */
  readonly instructions?: number;
  readonly isWrite?: boolean;
  readonly size?: number;
  readonly address?: number;
  readonly dataLow?: number;
  readonly dataHigh?: number;
  readonly detail?: number;
  readonly wakeDeadlineNs?: number;
}

export interface RunCall {
  readonly quantum: number;
  readonly deadlineNs: number;
}

export class FakeEngine implements Engine {
  readonly calls: RunCall[] = [];
  readonly answers: { readonly low: number; readonly high: number }[] = [];
  readonly anchors: { readonly ns: number; readonly slope: number }[] = [];
  resets = 0;
  /** Called with the run's arguments; what it returns happens. */
  script: (call: RunCall) => ScriptedExit = () => ({ kind: EXIT.budget });
  #now = { instructions: 0, ns: 0 };
  #anchor = { instructions: 0, ns: 0, slope: 10_000 };

  readonly exit = {
    isWrite: false,
    size: 0,
    address: 0,
    dataLow: 0,
    dataHigh: 0,
    detail: 0,
    instructions: 0,
    guestNs: 0,
    wakeDeadlineNs: Number.POSITIVE_INFINITY,
    answer: (low: number, high: number) => {
      this.answers.push({ low, high });
    },
  };

  run(_vcpu: number, quantum: number, deadlineNs: number): ExitKind {
    const call = { quantum, deadlineNs };
    this.calls.push(call);
    const exit = this.script(call);
    this.#retire(exit.instructions ?? (exit.kind === EXIT.budget ? this.#room(call) : 1));
    Object.assign(this.exit, {
      isWrite: exit.isWrite ?? false,
      size: exit.size ?? 1,
      address: exit.address ?? 0,
      dataLow: exit.dataLow ?? 0,
      dataHigh: exit.dataHigh ?? 0,
      detail: exit.detail ?? 0,
      wakeDeadlineNs: exit.wakeDeadlineNs ?? Number.POSITIVE_INFINITY,
      instructions: this.#now.instructions,
      guestNs: this.#now.ns,
    });
    return exit.kind;
  }

  anchorClock(ns: number, picosecondsPerInstruction: number): void {
    if (ns < this.#now.ns) throw new Error(`guest time would go back from ${this.#now.ns} to ${ns}`);
    this.anchors.push({ ns, slope: picosecondsPerInstruction });
    this.#anchor = { instructions: this.#now.instructions, ns, slope: picosecondsPerInstruction };
    this.#now.ns = ns;
  }

  guestNs(): number {
    return this.#now.ns;
  }
  instructions(): number {
    return this.#now.instructions;
  }
  kick(): void {}
  lastError(): string {
    return "scripted error";
  }
  mapRam(): void {}
  mapRom(): void {}
  mapReadDirect(): void {}
  mapMmio(): void {}
  readMemory(): boolean {
    return true;
  }
  writeMemory(): boolean {
    return true;
  }
  setIntr(): void {}
  deliver(_message: ApicMessage): boolean {
    return true;
  }
  nmi(): void {}
  registers(): Registers {
    throw new Error("not scripted");
  }
  setRegisters(): void {}
  enterVirtualWire(): void {}
  reset(): void {
    this.resets += 1;
  }
  stats(): EngineStats {
    throw new Error("not scripted");
  }
  dump(): string {
    return "RAX=0";
  }
  close(): void {}

  /** Instructions until the quantum or the deadline, at least one. */
  #room({ quantum, deadlineNs }: RunCall): number {
    const toDeadline = Math.ceil(((deadlineNs - this.#now.ns) * 1000) / this.#anchor.slope);
    return Math.max(1, Math.min(quantum, toDeadline));
  }

  #retire(count: number): void {
    this.#now.instructions += count;
    const since = this.#now.instructions - this.#anchor.instructions;
    this.#now.ns = this.#anchor.ns + Math.floor((since * this.#anchor.slope) / 1000);
  }
}
