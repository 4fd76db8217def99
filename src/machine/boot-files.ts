/**
 * Reads the files a machine boots from. They are read again at each reset rather than kept: together they can be larger
 * than everything else in the process.
 */
import { open, stat } from "node:fs/promises";
import type { VmConfig } from "../config/schema.js";
import { formatSize } from "../config/units.js";
import { VmError } from "../errors.js";

/** Bytes of one read: hosts refuse to read 2 GiB at once. */
const MAX_READ = 1 << 30;

export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array | undefined;
  /** Gives the files' memory back at once, and not whenever it is next collected; the arrays are empty afterwards. */
  release(): void;
}

/** @throws VmError VM_FILE_NOT_FOUND, VM_FILE_UNREADABLE, VM_MEMORY_TOO_SMALL. */
export async function readBootFiles(config: VmConfig): Promise<BootFiles> {
  const { boot, memoryBytes } = config;
  const kernel = await readBootFile("kernel", boot.kernel, memoryBytes);
  const initrd = boot.initrd === undefined ? undefined : await readBootFile("initrd", boot.initrd, memoryBytes);
  const buffers = initrd === undefined ? [kernel] : [kernel, initrd];
  return {
    kernel: new Uint8Array(kernel),
    initrd: initrd === undefined ? undefined : new Uint8Array(initrd),
    release: () => {
      for (const buffer of buffers) buffer.resize(0);
    },
  };
}

async function readBootFile(what: "kernel" | "initrd", path: string, memoryBytes: number): Promise<ArrayBuffer> {
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
    return await readWhole(path, found.size);
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

/** The first `size` bytes of a file (fewer if it has become shorter), in a buffer that can be shrunk. */
async function readWhole(path: string, size: number): Promise<ArrayBuffer> {
  const buffer = new ArrayBuffer(size, { maxByteLength: Math.max(size, 1) });
  const file = await open(path);
  try {
    let at = 0;
    while (at < size) {
      const length = Math.min(size - at, MAX_READ);
      const { bytesRead } = await file.read(new Uint8Array(buffer, at, length), 0, length, at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    buffer.resize(at);
    return buffer;
  } finally {
    await file.close();
  }
}
