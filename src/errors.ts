/**
 * The one error type users meet: a stable code, what happened, and what to do next.
 * Only `cli/` and servers turn it into text and exit statuses.
 */

/** Every error code of the project. Codes are part of the public interface and never change their meaning. */
export type VmErrorCode =
  | "VM_USAGE"
  | "VM_CONFIG_INVALID"
  | "VM_ADDON_MISSING"
  | "VM_ADDON_FAILED"
  | "VM_ENGINE_UNAVAILABLE"
  | "VM_FILE_NOT_FOUND"
  | "VM_FILE_UNREADABLE"
  | "VM_KERNEL_INVALID"
  | "VM_INITRD_INVALID"
  | "VM_MEMORY_TOO_SMALL"
  | "VM_CPU_UNKNOWN"
  | "VM_DEVICE_UNKNOWN"
  | "VM_DISK_INVALID"
  | "VM_DISK_IO"
  | "VM_DISK_LOCKED"
  | "VM_IMAGE_NOT_FOUND"
  | "VM_IMAGE_DAMAGED"
  | "VM_IMAGE_BUILD_FAILED"
  | "VM_APT_MISSING"
  | "VM_HOME_UNUSABLE"
  | "VM_TIMEOUT"
  | "VM_WRONG_STATE"
  | "VM_PROCESS_DIED"
  | "VM_PROTOCOL"
  | "VM_GUEST_CRASHED"
  | "VM_DEVICE_FAULT"
  | "VM_INTERNAL";

export interface VmErrorOptions {
  /** What the user can do about it, in one sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** An error a user can act on: `code` is stable, `message` says what happened, `hint` says what to do next. */
export class VmError extends Error {
  override readonly name: string = "VmError";
  readonly code: VmErrorCode;
  readonly hint: string | undefined;

  constructor(code: VmErrorCode, message: string, options: VmErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** Ends a switch over a union: the compiler proves it unreachable. */
export function assertNever(value: never): never {
  throw new VmError("VM_INTERNAL", `unexpected value: ${JSON.stringify(value)}`);
}

/** Asserts one of our own invariants; kept in release because a broken invariant is a bug, never a guest's doing. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new VmError("VM_INTERNAL", `broken invariant: ${message}`);
}
