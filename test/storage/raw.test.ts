import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VmError } from "../../src/errors.js";
import type { Disk } from "../../src/storage/disk.js";
import { openRawDisk } from "../../src/storage/raw.js";

let directory: string;
let path: string;
const open: Disk[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-raw-"));
  path = join(directory, "disk.img");
});

afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close();
  await rm(directory, { recursive: true });
});

async function disk(bytes: number, readOnly = false): Promise<Disk> {
  await writeFile(path, new Uint8Array(bytes));
  const opened = await openRawDisk(path, { readOnly });
  open.push(opened);
  return opened;
}

async function codeOf(work: Promise<unknown>): Promise<{ code: string; hint: string | undefined }> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof VmError)) throw new Error(`expected a VmError, not ${String(error)}`);
  return { code: error.code, hint: error.hint };
}

describe("raw disk", () => {
  it("writes and reads back at any sector, also past what one call moves", async () => {
    const target = await disk(16 << 20);
    const bytes = Uint8Array.from({ length: 5 << 20 }, (_, index) => (index * 31) >>> 3);
    await target.write(512, bytes);
    await target.flush();
    const back = new Uint8Array(bytes.length);
    await target.read(512, back);
    expect(Buffer.compare(back, bytes)).toBe(0);
    const file = await readFile(path);
    expect(file.length).toBe(16 << 20);
    expect(Buffer.compare(file.subarray(512, 512 + bytes.length), bytes)).toBe(0);
  });

  it("tells its size and an identity of at most 20 printable bytes", async () => {
    const target = await disk(1024);
    expect(target.sizeBytes).toBe(1024);
    expect(target.id).toBe("disk.img");
    const named = join(directory, "a disk with a näme that goes on.img");
    await writeFile(named, new Uint8Array(512));
    const long = await openRawDisk(named);
    open.push(long);
    expect(long.id).toBe("_me_that_goes_on.img");
  });

  it("zeroes ranges for good and keeps what it is told to discard or not", async () => {
    const target = await disk(4 << 20);
    await target.write(0, new Uint8Array(4 << 20).fill(0xaa));
    await target.writeZeroes(512, (3 << 20) + 512);
    await target.discard(0, 512);
    const file = await readFile(path);
    expect(file[511]).toBe(0xaa);
    expect(file.subarray(512, (3 << 20) + 1024).every((byte) => byte === 0)).toBe(true);
    expect(file[(3 << 20) + 1024]).toBe(0xaa);
    expect(file.length).toBe(4 << 20);
  });

  it("carries operations out concurrently without mixing them up", async () => {
    const target = await disk(1 << 20);
    await Promise.all(
      Array.from({ length: 64 }, (_, index) => target.write(index * 4096, new Uint8Array(4096).fill(index))),
    );
    const file = await readFile(path);
    for (let index = 0; index < 64; index++) {
      expect(file.subarray(index * 4096, (index + 1) * 4096).every((byte) => byte === index)).toBe(true);
    }
  });

  it("refuses every change when it is read-only", async () => {
    const target = await disk(1024, true);
    for (const change of [target.write(0, new Uint8Array(512)), target.discard(0, 512), target.writeZeroes(0, 512)]) {
      expect((await codeOf(change)).code).toBe("VM_DISK_IO");
    }
    await target.flush();
    await target.read(0, new Uint8Array(1024));
  });

  it.each([
    [1024, 512],
    [512, 1024],
    [1, 512],
    [0, 100],
    [-512, 512],
    [2 ** 60, 512],
  ])("refuses offset %i, length %i on a disk of 1024 bytes", async (offset, length) => {
    const target = await disk(1024);
    expect((await codeOf(target.read(offset, new Uint8Array(length)))).code).toBe("VM_DISK_IO");
    expect((await codeOf(target.write(offset, new Uint8Array(length)))).code).toBe("VM_DISK_IO");
    expect((await stat(path)).size).toBe(1024);
  });

  it("reports a file that was cut behind its back instead of waiting for bytes", async () => {
    const target = await disk(4096);
    await truncate(path, 1024);
    expect((await codeOf(target.read(0, new Uint8Array(4096)))).code).toBe("VM_DISK_IO");
  });

  it.each([
    ["a missing file", (dir: string) => join(dir, "absent.img"), "VM_FILE_NOT_FOUND"],
    ["a directory", (dir: string) => dir, "VM_DISK_INVALID"],
    ["a path through a file", (dir: string) => join(dir, "odd.img", "x"), "VM_FILE_NOT_FOUND"],
    ["a length that is no multiple of 512", (dir: string) => join(dir, "odd.img"), "VM_DISK_INVALID"],
    ["an empty file", (dir: string) => join(dir, "empty.img"), "VM_DISK_INVALID"],
  ])("refuses %s with a hint", async (_what, locate, code) => {
    await writeFile(join(directory, "odd.img"), new Uint8Array(1000));
    await writeFile(join(directory, "empty.img"), new Uint8Array(0));
    for (const readOnly of [false, true]) {
      const found = await codeOf(openRawDisk(locate(directory), { readOnly }));
      expect(found.code).toBe(code);
      expect(found.hint).toBeTruthy();
    }
  });

  it.skipIf(process.platform === "win32")("refuses a character device", async () => {
    expect((await codeOf(openRawDisk("/dev/null"))).code).toBe("VM_DISK_INVALID");
  });
});
