import { mkdtemp, open as openFile, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { VmError } from "../../src/errors.js";
import type { Disk } from "../../src/storage/disk.js";
import { openRawDisk } from "../../src/storage/raw.js";

/** An addon that punches no holes. */
const FAKE_ADDON = fileURLToPath(new URL("../control/fake-addon.cjs", import.meta.url));
/** The source of an addon that punches a hole when it is told to finish. */
const SLOW_ADDON = `
  let finish;
  exports.lockFile = () => true;
  exports.punchHole = () => new Promise((resolve) => { finish = resolve; });
  exports.finish = () => finish(true);
`;
/** Where holes can be punched, on any file system a temporary directory is likely to be on. */
const punchesHoles = process.platform === "linux";

let directory: string;
let path: string;
const open: Disk[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-raw-"));
  path = join(directory, "disk.img");
});

afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close();
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true });
});

async function filled(bytes: number): Promise<string> {
  await writeFile(path, new Uint8Array(bytes));
  return path;
}

async function disk(bytes: number, readOnly = false): Promise<Disk> {
  const opened = await openRawDisk(await filled(bytes), { readOnly });
  open.push(opened);
  return opened;
}

/** Bytes that the file takes up on its file system. */
async function storedBytes(): Promise<number> {
  const file = await openFile(path);
  try {
    await file.sync();
    return (await file.stat()).blocks * 512;
  } finally {
    await file.close();
  }
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

  it.each([
    ["by punching holes", undefined],
    ["by writing zeroes where it cannot punch holes", FAKE_ADDON],
  ])("zeroes exactly the sectors it is told to, %s", async (_how, addon) => {
    if (addon !== undefined) vi.stubEnv("VMDECK_NATIVE_PATH", addon);
    const target = await disk(4 << 20);
    await target.write(0, new Uint8Array(4 << 20).fill(0xaa));
    await target.writeZeroes(512, (3 << 20) + 512);
    const file = await readFile(path);
    expect(file.subarray(0, 512).every((byte) => byte === 0xaa)).toBe(true);
    expect(file.subarray(512, (3 << 20) + 1024).every((byte) => byte === 0)).toBe(true);
    expect(file.subarray((3 << 20) + 1024).every((byte) => byte === 0xaa)).toBe(true);
    expect(file.length).toBe(4 << 20);
  });

  it("discards nothing outside the range, and all of it stays readable", async () => {
    const target = await disk(4 << 20);
    await target.write(0, new Uint8Array(4 << 20).fill(0xaa));
    await target.discard(512, 1 << 20);
    await target.discard((3 << 20) - 512, 1024);
    await target.read(0, new Uint8Array(4 << 20));
    const file = await readFile(path);
    expect(file.subarray(0, 512).every((byte) => byte === 0xaa)).toBe(true);
    expect(file.subarray(512 + (1 << 20), (3 << 20) - 512).every((byte) => byte === 0xaa)).toBe(true);
    expect(file.subarray((3 << 20) + 512).every((byte) => byte === 0xaa)).toBe(true);
    expect(file.length).toBe(4 << 20);
  });

  it.runIf(punchesHoles)("gives the host its space back by discarding and zeroing", async () => {
    const target = await disk(8 << 20);
    await target.write(0, new Uint8Array(8 << 20).fill(0xaa));
    const before = await storedBytes();
    await target.discard(1 << 20, 2 << 20);
    expect(before - (await storedBytes())).toBe(2 << 20);
    await target.writeZeroes(4 << 20, 3 << 20);
    expect(before - (await storedBytes())).toBe(5 << 20);
  });

  it("leaves the file alone when it can punch no hole to discard with", async () => {
    vi.stubEnv("VMDECK_NATIVE_PATH", FAKE_ADDON);
    const target = await disk(1 << 20);
    await target.write(0, new Uint8Array(1 << 20).fill(0xaa));
    await target.discard(0, 1 << 20);
    expect((await readFile(path)).every((byte) => byte === 0xaa)).toBe(true);
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

  // On Windows every lock is granted.
  describe.skipIf(process.platform === "win32")("lock", () => {
    it.each([
      ["a second writer", false, false],
      ["a writer besides a reader", true, false],
      ["a reader besides a writer", false, true],
    ])("refuses %s with a hint that names the file", async (_what, firstReadOnly, secondReadOnly) => {
      await disk(1024, firstReadOnly);
      const found = await codeOf(openRawDisk(path, { readOnly: secondReadOnly }));
      expect(found).toEqual({ code: "VM_DISK_LOCKED", hint: expect.stringContaining(path) });
    });

    it("lets readers in together, and a writer when the last has gone", async () => {
      const first = await disk(1024, true);
      const second = await openRawDisk(path, { readOnly: true });
      await first.close();
      expect((await codeOf(openRawDisk(path))).code).toBe("VM_DISK_LOCKED");
      await second.close();
      open.splice(0, 1, await openRawDisk(path));
    });

    it("is gone after close, and after an open that failed", async () => {
      const target = await disk(1024);
      expect((await codeOf(openRawDisk(path))).code).toBe("VM_DISK_LOCKED");
      await target.close();
      await truncate(path, 1000);
      expect((await codeOf(openRawDisk(path))).code).toBe("VM_DISK_INVALID");
      await truncate(path, 1024);
      open.splice(0, 1, await openRawDisk(path));
    });
  });

  it("closes, and so lets go of the file, when what was begun is done", async () => {
    const slow = join(directory, "slow.cjs");
    await writeFile(slow, SLOW_ADDON);
    vi.stubEnv("VMDECK_NATIVE_PATH", slow);
    const target = await openRawDisk(await filled(1024));
    const order: string[] = [];
    const discarded = target.discard(0, 512).then(() => order.push("discarded"));
    const closed = target.close().then(() => order.push("closed"));
    // A close that did not wait would be through before these.
    for (let reads = 0; reads < 20; reads++) await readFile(path);
    createRequire(import.meta.url)(slow).finish();
    await Promise.all([discarded, closed]);
    expect(order).toEqual(["discarded", "closed"]);
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
