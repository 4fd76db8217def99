/**
 * How a machine stops: what its devices or its owner asked for, looked at between two exits. The first end wins, and
 * an end outranks a reset.
 */
import type { PowerControl } from "../devices/device.js";

/** Why a machine ended. */
export type MachineEnd =
  /** The guest turned itself off (ACPI S5). */
  | { readonly kind: "powerOff" }
  /** The guest reset itself, and the configuration says that this ends the VM. */
  | { readonly kind: "reset"; readonly reason: string }
  /** isa-debug-exit was written; `status` is `(value << 1) | 1`. */
  | { readonly kind: "exit"; readonly status: number }
  /** Triple fault, or the engine could not go on; `dump` is the vCPU's registers as text. */
  | { readonly kind: "crash"; readonly reason: string; readonly dump: string }
  /** The time limit passed. */
  | { readonly kind: "timeout" }
  /** Ended from outside. */
  | { readonly kind: "killed" };

export class PowerRequests implements PowerControl {
  #end: MachineEnd | undefined;
  #resetReason: string | undefined;

  /** True when the run loop must stop to look. */
  pending = false;

  get end(): MachineEnd | undefined {
    return this.#end;
  }

  /** The reason of the reset asked for, once. */
  takeReset(): string | undefined {
    const reason = this.#resetReason;
    this.#resetReason = undefined;
    this.pending = this.#end !== undefined;
    return reason;
  }

  powerOff(): void {
    this.finish({ kind: "powerOff" });
  }

  exit(status: number): void {
    this.finish({ kind: "exit", status });
  }

  reset(reason: string): void {
    this.#resetReason ??= reason;
    this.pending = true;
  }

  /** Ends the machine; later ends are ignored. */
  finish(end: MachineEnd): void {
    this.#end ??= end;
    this.pending = true;
  }
}
