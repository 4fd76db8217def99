/**
 * The public interface of vmdeck: `import { Vm } from "vmdeck"`. Everything here is documented, typed and stable; what
 * is not exported here may change at any time.
 */
export type { VmConfig, VmConfigInput } from "./config/schema.js";
export type { SerialConsole, WaitOptions } from "./control/serial-console.js";
export { type RunOptions, Vm } from "./control/vm.js";
export type { ProgressListener, VmOptions } from "./control/vm-options.js";
export type { VmEvent, VmExit, VmStats } from "./control/vm-report.js";
export { VmError, type VmErrorCode } from "./errors.js";
export type { Diagnostic } from "./machine/diagnostics.js";
export type { MachineEnd } from "./machine/power.js";
export type { Registers, SegmentRegister, TableRegister } from "./native/engine.js";
