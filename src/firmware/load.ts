/**
 * Makes a machine bootable: writes the ACPI tables and the kernel by the protocol its file asks for, and returns
 * the bootstrap processor's registers. The only way into firmware for `machine/`; called again after a reset.
 */
import { VmError } from "../errors.js";
import type { Registers } from "../native/engine.js";
import { writeAcpiTables } from "./acpi.js";
import type { MemoryWriter } from "./boot-state.js";
import { isBzImage, loadLinux } from "./linux.js";
import { isElf, loadPvh } from "./pvh.js";

export interface BootRequest {
  readonly memory: MemoryWriter;
  /** Contents of a bzImage, or of an ELF kernel with a PVH note. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  /** Bytes of guest RAM, mapped as `ramSpans` tells. */
  readonly memoryBytes: number;
  readonly cpus: number;
}

/**
 * Writes everything the guest finds in memory at power-on and returns the registers vCPU 0 starts with.
 * @throws VmError VM_KERNEL_INVALID, VM_INITRD_INVALID, VM_MEMORY_TOO_SMALL, VM_CONFIG_INVALID (command line)
 */
export function loadBoot(request: BootRequest): Registers {
  const rsdpAddress = writeAcpiTables(request.memory, request.cpus);
  const boot = { ...request, rsdpAddress };
  if (isBzImage(request.kernel)) return loadLinux(request.memory, boot);
  if (isElf(request.kernel)) return loadPvh(request.memory, boot);
  throw new VmError("VM_KERNEL_INVALID", "the kernel is neither a Linux bzImage nor an ELF file", {
    hint: "Give a Linux bzImage (such as /boot/vmlinuz-*) or an ELF kernel with a PVH note with --kernel.",
  });
}
