/**
 * Writes and reads cpio archives in the "newc" format, the one Linux unpacks as its initramfs (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst). The same entries give the same bytes. Left out:
 * hard links, checksums ("crc" format) and compression.
 */
import { VmError } from "../errors.js";

interface CpioEntryBase {
  /** Path in the archive, without a leading slash. Directories must come before what is in them. */
  readonly path: string;
}

/** One member; `mode` is the permission bits only, owner and group are root. */
export type CpioEntry =
  | (CpioEntryBase & { readonly kind: "directory"; readonly mode?: number })
  | (CpioEntryBase & { readonly kind: "file"; readonly mode?: number; readonly contents: Uint8Array })
  | (CpioEntryBase & { readonly kind: "symlink"; readonly target: string })
  | (CpioEntryBase & {
      readonly kind: "character-device";
      readonly mode?: number;
      readonly major: number;
      readonly minor: number;
    });

const MAGIC = "070701";
const HEADER_BYTES = 110;
const TRAILER = "TRAILER!!!";
const ALIGNMENT = 4;
const BLOCK = 512;
const LARGEST_FILE = 0xffff_ffff;

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

/**
 * Packs entries in the order given. `mtime` (seconds since 1970) is every entry's time.
 * @throws VmError VM_INTERNAL for a path that is empty, absolute, repeated, or leaves the archive, or a file of 4 GiB and more.
 */
export function writeCpio(entries: readonly CpioEntry[], mtime: number): Uint8Array {
  const parts: Uint8Array[] = [];
  const seen = new Set<string>();
  let inode = 1;
  for (const entry of entries) {
    checkPath(entry.path, seen);
    parts.push(...member(entry.path, inode++, mtime, describe(entry)));
  }
  parts.push(...member(TRAILER, 0, 0, { mode: 0, links: 1, contents: new Uint8Array(0), major: 0, minor: 0 }));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const archive = new Uint8Array(Math.ceil(length / BLOCK) * BLOCK);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

/**
 * Reads back an archive.
 * @throws VmError VM_INITRD_INVALID for anything that is no whole newc archive of the kinds above.
 */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const entries: CpioEntry[] = [];
  let at = 0;
  for (;;) {
    const header = text(archive, at, HEADER_BYTES);
    if (!header.startsWith(MAGIC) || !/^[0-9a-fA-F]{110}$/.test(header)) throw invalid(`no header at byte ${at}`);
    const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const nameBytes = field(11);
    const fileBytes = field(6);
    const contentsAt = align(at + HEADER_BYTES + nameBytes);
    const end = contentsAt + fileBytes;
    if (nameBytes === 0 || end > archive.length) throw invalid(`the member at byte ${at} is cut short`);
    const path = text(archive, at + HEADER_BYTES, nameBytes - 1);
    if (path === TRAILER) return entries;
    const mode = field(1) & ~S_IFMT;
    const contents = archive.subarray(contentsAt, end);
    switch (field(1) & S_IFMT) {
      case S_IFDIR:
        entries.push({ kind: "directory", path, mode });
        break;
      case S_IFREG:
        entries.push({ kind: "file", path, mode, contents });
        break;
      case S_IFLNK:
        entries.push({ kind: "symlink", path, target: text(contents, 0, contents.length) });
        break;
      case S_IFCHR:
        entries.push({ kind: "character-device", path, mode, major: field(9), minor: field(10) });
        break;
      default:
        throw invalid(`${path} is of an unknown kind`);
    }
    at = align(end);
  }
}

interface Described {
  readonly mode: number;
  readonly links: number;
  readonly contents: Uint8Array;
  readonly major: number;
  readonly minor: number;
}

function describe(entry: CpioEntry): Described {
  const plain = { links: 1, contents: new Uint8Array(0), major: 0, minor: 0 };
  switch (entry.kind) {
    case "directory":
      return { ...plain, mode: S_IFDIR | (entry.mode ?? 0o755), links: 2 };
    case "file":
      return { ...plain, mode: S_IFREG | (entry.mode ?? 0o644), contents: entry.contents };
    case "symlink":
      return { ...plain, mode: S_IFLNK | 0o777, contents: new TextEncoder().encode(entry.target) };
    case "character-device":
      return { ...plain, mode: S_IFCHR | (entry.mode ?? 0o600), major: entry.major, minor: entry.minor };
  }
}

function member(path: string, inode: number, mtime: number, what: Described): Uint8Array[] {
  const nameBytes = new TextEncoder().encode(`${path}\0`);
  if (what.contents.length > LARGEST_FILE) throw new VmError("VM_INTERNAL", `${path} is too large for a cpio archive`);
  const fields = [
    inode,
    what.mode,
    0,
    0,
    what.links,
    mtime,
    what.contents.length,
    0,
    0,
    what.major,
    what.minor,
    nameBytes.length,
    0,
  ];
  const header = MAGIC + fields.map((value) => value.toString(16).padStart(8, "0")).join("");
  const named = new Uint8Array(align(HEADER_BYTES + nameBytes.length));
  named.set(new TextEncoder().encode(header));
  named.set(nameBytes, HEADER_BYTES);
  return [named, what.contents, new Uint8Array(align(what.contents.length) - what.contents.length)];
}

function checkPath(path: string, seen: Set<string>): void {
  const sound = path.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !path.includes("\0");
  if (!sound || path === TRAILER || seen.has(path))
    throw new VmError("VM_INTERNAL", `bad or repeated cpio path "${path}"`);
  seen.add(path);
}

function align(value: number): number {
  return Math.ceil(value / ALIGNMENT) * ALIGNMENT;
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return new TextDecoder().decode(bytes.subarray(at, at + length));
}

function invalid(reason: string): VmError {
  return new VmError("VM_INITRD_INVALID", `the cpio archive is damaged: ${reason}`, {
    hint: "Build it anew.",
  });
}
