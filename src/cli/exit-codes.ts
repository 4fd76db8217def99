/**
 * The exit statuses of `vmdeck`, part of its public interface: what scripts may rely on.
 */
import type { VmExit } from "../control/vm-report.js";
import { assertNever, type VmError } from "../errors.js";

export const EXIT_STATUS = {
  ok: 0,
  failure: 1,
  usage: 2,
  timeout: 5,
  crash: 6,
  /** 128 + the signal's number, as shells have it. */
  hangup: 129,
  interrupt: 130,
  brokenPipe: 141,
  terminated: 143,
} as const;

/** Status for a VM that has ended: a guest that ended itself in order is 0, isa-debug-exit is the guest's own status. */
export function statusOfExit(exit: VmExit): number {
  switch (exit.kind) {
    case "powerOff":
    case "reset":
      return EXIT_STATUS.ok;
    case "exit":
      return exit.status & 0xff;
    case "timeout":
      return EXIT_STATUS.timeout;
    case "crash":
      return EXIT_STATUS.crash;
    case "killed":
      return EXIT_STATUS.terminated;
    default:
      return assertNever(exit);
  }
}

/** Status for an error: what the user wrote is 2, what went wrong is 1. */
export function statusOfError(error: VmError): number {
  switch (error.code) {
    case "VM_USAGE":
    case "VM_CONFIG_INVALID":
    case "VM_CPU_UNKNOWN":
    case "VM_DEVICE_UNKNOWN":
    case "VM_ENGINE_UNAVAILABLE":
      return EXIT_STATUS.usage;
    case "VM_TIMEOUT":
      return EXIT_STATUS.timeout;
    case "VM_GUEST_CRASHED":
      return EXIT_STATUS.crash;
    default:
      return EXIT_STATUS.failure;
  }
}
