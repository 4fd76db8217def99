/**
 * What a VM tells the outside of itself: statistics, events, and how it ended. Plain data, as it crosses the control
 * socket and as `--json` prints it.
 */
import type { Diagnostic } from "../machine/diagnostics.js";
import type { MachineEnd } from "../machine/power.js";

/** Counters since power-on. */
export interface VmStats {
  /** Instructions retired, exactly. */
  readonly instructions: number;
  /** Guest time in milliseconds. */
  readonly guestMs: number;
  /** Host time since power-on in milliseconds. */
  readonly wallMs: number;
  /** Host time spent running the guest and answering its exits, in milliseconds; the rest was idle. */
  readonly runMs: number;
  /** Interrupts delivered to the processor. */
  readonly interrupts: number;
  /** Exceptions delivered to the guest. */
  readonly exceptions: number;
  /** Exits of the engine by kind ("io", "mmio", "hlt", ...). */
  readonly exits: Readonly<Record<string, number>>;
  readonly blocksDecoded: number;
  readonly blocksInvalidated: number;
  readonly tlbMisses: number;
  /** Slices of the main thread. */
  readonly slices: number;
  /** Times the guest was reset. */
  readonly resets: number;
}

/** How a VM ended, with its statistics. */
export type VmExit = MachineEnd & { readonly stats: VmStats };

/** Something that happened to a running VM. */
export type VmEvent =
  | { readonly kind: "reset"; readonly reason: string }
  | { readonly kind: "diagnostic"; readonly diagnostic: Diagnostic }
  | { readonly kind: "ended"; readonly exit: VmExit };
