/**
 * What a VM tells the outside of itself: statistics, events, and how it ended. Plain data, as it crosses the control
 * socket and as `--json` prints it.
 */
import type { MachineStats } from "../machine/build.js";
import type { Diagnostic } from "../machine/diagnostics.js";
import type { MachineEnd } from "../machine/power.js";

/** Counters since power-on. */
export type VmStats = MachineStats;

/** How a VM ended, with its statistics. */
export type VmExit = MachineEnd & { readonly stats: VmStats };

/** Something that happened to a running VM. */
export type VmEvent =
  | { readonly kind: "reset"; readonly reason: string }
  | { readonly kind: "diagnostic"; readonly diagnostic: Diagnostic }
  | { readonly kind: "ended"; readonly exit: VmExit };
