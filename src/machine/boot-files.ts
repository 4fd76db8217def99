/**
 * Reads the files a machine boots from. They are read again at each reset rather than kept: together they can be larger
 * than everything else in the process.
 */
import { readFile, stat } from "node:fs/promises";
import type { VmConfig } from "../config/schema.js";
import { formatSize } from "../config/units.js";
import { VmError } from "../errors.js";

export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array | undefined;
}

/** @throws VmError VM_FILE_NOT_FOUND, VM_FILE_UNREADABLE, VM_MEMORY_TOO_SMALL. */
export async function readBootFiles(config: VmConfig): Promise<BootFiles> {
  const { kernel, initrd } = config.boot;
  return {
    kernel: await readBootFile("kernel", kernel, config.memoryBytes),
    initrd: initrd === undefined ? undefined : await readBootFile("initrd", initrd, config.memoryBytes),
  };
}

async function readBootFile(what: "kernel" | "initrd", path: string, memoryBytes: number): Promise<Uint8Array> {
  try {
    const found = await stat(path);
    // A device or a pipe could go on for ever.
    if (!found.isFile())
      throw new VmError("VM_FILE_UNREADABLE", `the ${what} ${path} is no regular file`, {
        hint: `give a file with --${what}`,
      });
    if (found.size > memoryBytes) {
      throw new VmError(
        "VM_MEMORY_TOO_SMALL",
        `the ${what} ${path} has ${found.size} bytes; the guest has ${formatSize(memoryBytes)} of RAM`,
        {
          hint: "give the guest more memory with -m/--memory",
        },
      );
    }
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof VmError) throw cause;
    const absent = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw new VmError(
      absent ? "VM_FILE_NOT_FOUND" : "VM_FILE_UNREADABLE",
      absent ? `there is no ${what} ${path}` : `the ${what} ${path} cannot be read: ${(cause as Error).message}`,
      { cause, hint: absent ? `check the path given with --${what}` : "check that you may read the file" },
    );
  }
}
