/**
 * A disk that is one raw file or block device: byte n of the disk is byte n of the file.
 * While it is open the file is locked, so that no two VMs write one disk: for itself alone when it is writable,
 * together with other readers when it is not. The kernel keeps the lock, so it ends with the process, however that ends.
 * `discard` and `writeZeroes` punch holes. Where the host cannot, `discard` does nothing, which its contract allows
 * (writing zeroes would cost what the hint means to save), and `writeZeroes` writes them.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { VmError } from "../errors.js";
import { type FileCalls, fileCalls } from "../native/files.js";
import type { Disk } from "./disk.js";

const SECTOR_BYTES = 512;
const ZEROES = new Uint8Array(1024 * 1024);
const MAX_ID_BYTES = 20;

export interface RawDiskOptions {
  /** Opens the file for reading alone; every change is refused. */
  readonly readOnly?: boolean;
  /** Identity shown to the guest, at most 20 bytes of ASCII; made from the file's name unless given. */
  readonly id?: string;
}

/**
 * Opens `path` as a disk and locks it until `close`. Throws VmError VM_FILE_NOT_FOUND, VM_FILE_UNREADABLE (no
 * permission), VM_DISK_INVALID (no regular file or block device, empty, or not a multiple of 512 bytes long),
 * VM_DISK_LOCKED (open as a disk elsewhere, and one of the two writes), VM_DISK_IO (the system fails to lock it),
 * VM_ADDON_MISSING or VM_ADDON_FAILED.
 */
export async function openRawDisk(path: string, options: RawDiskOptions = {}): Promise<Disk> {
  const readOnly = options.readOnly ?? false;
  const calls = fileCalls();
  const file = await openFile(path, readOnly);
  try {
    await checkKind(path, file);
    lock(path, file, readOnly, calls);
    const sizeBytes = await measure(path, file);
    return new RawDisk({ path, file, calls, sizeBytes, readOnly, id: options.id ?? identityFrom(path) });
  } catch (error) {
    await file.close();
    throw error;
  }
}

interface RawDiskParts {
  readonly path: string;
  /** Open and locked. */
  readonly file: FileHandle;
  readonly calls: FileCalls;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly id: string;
}

class RawDisk implements Disk {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly id: string;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #calls: FileCalls;
  /** Holes being punched, which `close` waits for. A FileHandle does so for its own operations. */
  readonly #punching = new Set<Promise<boolean>>();

  constructor(parts: RawDiskParts) {
    this.#path = parts.path;
    this.#file = parts.file;
    this.#calls = parts.calls;
    this.sizeBytes = parts.sizeBytes;
    this.readOnly = parts.readOnly;
    this.id = parts.id;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#check(offset, target.length);
    await this.#attempt("read", async () => {
      for (let done = 0; done < target.length; ) {
        const { bytesRead } = await this.#file.read(target, done, target.length - done, offset + done);
        if (bytesRead === 0) throw new Error(`the file ends at byte ${offset + done}; it has been cut`);
        done += bytesRead;
      }
    });
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.#checkWrite(offset, source.length);
    await this.#attempt("write", () => this.#writeAll(offset, source));
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    await this.#attempt("flush", () => this.#file.datasync());
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    await this.#attempt("discard", async () => {
      await this.#punch(offset, length);
    });
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    await this.#attempt("write", async () => {
      if (await this.#punch(offset, length)) return;
      for (let done = 0; done < length; done += ZEROES.length) {
        await this.#writeAll(offset + done, ZEROES.subarray(0, Math.min(ZEROES.length, length - done)));
      }
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#punching);
    await this.#attempt("close", () => this.#file.close());
  }

  /** False where the host cannot; nothing has changed then. */
  async #punch(offset: number, length: number): Promise<boolean> {
    const punch = this.#calls.punchHole(this.#file.fd, offset, length);
    this.#punching.add(punch);
    try {
      return await punch;
    } finally {
      this.#punching.delete(punch);
    }
  }

  async #writeAll(offset: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length; ) {
      const { bytesWritten } = await this.#file.write(source, done, source.length - done, offset + done);
      if (bytesWritten === 0) throw new Error(`nothing could be written at byte ${offset + done}`);
      done += bytesWritten;
    }
  }

  #check(offset: number, length: number): void {
    const aligned = offset % SECTOR_BYTES === 0 && length % SECTOR_BYTES === 0;
    if (!aligned || offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new VmError("VM_DISK_IO", `${length} bytes at ${offset} are no sectors of ${this.#path}`);
    }
  }

  #checkWrite(offset: number, length: number): void {
    if (this.readOnly) throw new VmError("VM_DISK_IO", `${this.#path} is read-only`);
    this.#check(offset, length);
  }

  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      throw new VmError("VM_DISK_IO", `cannot ${what} ${this.#path}: ${reasonOf(cause)}`, {
        hint: "check the disk that holds the file, and its free space",
        cause,
      });
    }
  }
}

async function openFile(path: string, readOnly: boolean): Promise<FileHandle> {
  try {
    // Without O_NONBLOCK a FIFO would hold the open up for ever; on files and block devices it means nothing.
    const flags = (readOnly ? constants.O_RDONLY : constants.O_RDWR) | (constants.O_NONBLOCK ?? 0);
    return await open(path, flags);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new VmError("VM_FILE_NOT_FOUND", `there is no disk file ${path}`, { hint: "check the path", cause });
    }
    if (code === "EISDIR") throw notADisk(path, cause);
    throw new VmError("VM_FILE_UNREADABLE", `cannot open the disk ${path}: ${String(cause)}`, {
      hint: readOnly ? "check its permissions" : "check its permissions, or attach it read-only (FILE,ro)",
      cause,
    });
  }
}

async function checkKind(path: string, file: FileHandle): Promise<void> {
  const stats = await file.stat();
  if (!stats.isFile() && !stats.isBlockDevice()) throw notADisk(path);
}

function lock(path: string, file: FileHandle, readOnly: boolean, calls: FileCalls): void {
  let locked: boolean;
  try {
    locked = calls.lockFile(file.fd, !readOnly);
  } catch (cause) {
    throw new VmError("VM_DISK_IO", `cannot lock ${path}: ${reasonOf(cause)}`, {
      hint: "check that the file system holding it supports locks",
      cause,
    });
  }
  if (locked) return;
  throw new VmError("VM_DISK_LOCKED", `${path} is in use as a ${readOnly ? "writable disk" : "disk"} already`, {
    hint: readOnly
      ? `end the VM that writes ${path}, or attach a copy of it`
      : `end the VM that uses ${path}, attach a copy of it, or attach it read-only everywhere (FILE,ro)`,
  });
}

async function measure(path: string, file: FileHandle): Promise<number> {
  const stats = await file.stat();
  const sizeBytes = stats.isFile() ? stats.size : await findEnd(file);
  if (sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw new VmError("VM_DISK_INVALID", `${path} is ${sizeBytes} bytes long, which is no whole number of sectors`, {
      hint: "a raw disk is a positive multiple of 512 bytes long; make one with: truncate -s 1G FILE",
    });
  }
  return sizeBytes;
}

/** A block device does not tell its size by stat: finds the last readable byte by halving. */
async function findEnd(file: FileHandle): Promise<number> {
  const probe = new Uint8Array(1);
  const readable = async (offset: number): Promise<boolean> => (await file.read(probe, 0, 1, offset)).bytesRead === 1;
  let low = 0;
  let high = SECTOR_BYTES;
  while (high < 2 ** 52 && (await readable(high - 1))) {
    low = high;
    high *= 2;
  }
  while (high - low > SECTOR_BYTES) {
    const middle = low + Math.floor((high - low) / 2 / SECTOR_BYTES) * SECTOR_BYTES;
    if (await readable(middle - 1)) low = middle;
    else high = middle;
  }
  return low;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function notADisk(path: string, cause?: unknown): VmError {
  return new VmError("VM_DISK_INVALID", `${path} is neither a regular file nor a block device`, {
    hint: "attach a raw disk image; make one with: truncate -s 1G FILE",
    cause,
  });
}

/** The end of the name tells images apart better than its start. */
function identityFrom(path: string): string {
  return basename(path)
    .replace(/[^\x21-\x7e]/g, "_")
    .slice(-MAX_ID_BYTES);
}
