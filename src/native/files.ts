/**
 * What Node.js lacks for the files that hold disks, from the addon: locks that the kernel keeps, and holes.
 * Files are given by their descriptor's number (`FileHandle.fd`). On Windows every lock is granted, and holes are
 * punched on Linux alone.
 */
import { loadAddon } from "./load.js";

export interface FileCalls {
  /**
   * Locks the open file (flock) without waiting: for itself alone, or together with others that hold shared locks.
   * False when another open file of any process, this one included, holds a lock that forbids it. The lock ends when
   * the file is closed, or with the process; it binds only those who ask for one. A file system without locks grants
   * every one. Throws the system's error.
   */
  lockFile(fd: number, exclusive: boolean): boolean;
  /**
   * Gives the storage of `length` bytes from `offset` back, off the event loop; they read as zeroes afterwards, and the
   * file keeps its size. Resolves with false, and has changed nothing, where the host or its file system cannot.
   * Throws or rejects with the system's error.
   */
  punchHole(fd: number, offset: number, length: number): Promise<boolean>;
}

/** @throws VmError VM_ADDON_MISSING or VM_ADDON_FAILED. */
export function fileCalls(): FileCalls {
  return loadAddon().addon;
}
