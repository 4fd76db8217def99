import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileCalls } from "../../src/native/files.js";
import { loadAddon } from "../../src/native/load.js";

/** Takes the exclusive lock of argv[2] by the addon argv[1], says so, and lives on. */
const HOLDER = `
  const fd = require("node:fs").openSync(process.argv[2], "r+");
  process.stdout.write(String(require(process.argv[1]).lockFile(fd, true)));
  setInterval(() => {}, 1000);
`;
const BAD_DESCRIPTOR = /os error 9/;

const { lockFile, punchHole } = fileCalls();
let directory: string;
let path: string;
let file: FileHandle;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-files-"));
  path = join(directory, "file");
  file = await open(path, "w+");
});

afterEach(async () => {
  await file.close();
  await rm(directory, { recursive: true });
});

describe.skipIf(process.platform === "win32")("lockFile", () => {
  it("grants shared locks together and an exclusive one alone", async () => {
    const other = await open(path);
    expect(lockFile(file.fd, false)).toBe(true);
    expect(lockFile(other.fd, false)).toBe(true);
    expect(lockFile(file.fd, true)).toBe(false);
    await other.close();
    expect(lockFile(file.fd, true)).toBe(true);
    const late = await open(path);
    expect(lockFile(late.fd, false)).toBe(false);
    await late.close();
  });

  it("keeps other processes out, until the holder dies of whatever", async () => {
    const holder = spawn(process.execPath, ["-e", HOLDER, loadAddon().origin, path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(holder, "exit");
    try {
      const [said] = await once(holder.stdout, "data");
      expect(String(said)).toBe("true");
      expect(lockFile(file.fd, false)).toBe(false);
    } finally {
      holder.kill("SIGKILL");
      await ended;
    }
    expect(lockFile(file.fd, true)).toBe(true);
  });

  it("tells a number that is no open file", () => {
    expect(() => lockFile(-1, true)).toThrow(BAD_DESCRIPTOR);
    expect(() => lockFile(2 ** 30, false)).toThrow(BAD_DESCRIPTOR);
  });
});

describe.runIf(process.platform === "linux")("punchHole", () => {
  it("gives whole blocks back, zeroes the rest of the range, and keeps the file's size", async () => {
    await file.write(new Uint8Array(1 << 20).fill(0xaa));
    await file.sync();
    const before = await file.stat();
    expect(await punchHole(file.fd, 1000, 600_000)).toBe(true);
    await file.sync();
    const after = await file.stat();
    expect(after.size).toBe(1 << 20);
    expect((before.blocks - after.blocks) * 512).toBeGreaterThan(500_000);
    const { buffer } = await file.read(Buffer.alloc(1 << 20), 0, 1 << 20, 0);
    expect(buffer.subarray(0, 1000).every((byte) => byte === 0xaa)).toBe(true);
    expect(buffer.subarray(1000, 601_000).every((byte) => byte === 0)).toBe(true);
    expect(buffer.subarray(601_000).every((byte) => byte === 0xaa)).toBe(true);
  });

  it("goes into the file that was open when it was called, though that is closed at once", async () => {
    await file.write(new Uint8Array(4096).fill(0xaa));
    const victim = await open(path, "r+");
    const punched = punchHole(victim.fd, 0, 4096);
    await victim.close();
    expect(await punched).toBe(true);
    const { buffer } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
  });

  it("is false where there are no holes, and fails with the system's reason", async () => {
    await using readOnly = await open(path);
    expect(await punchHole(file.fd, 0, 0)).toBe(false);
    await expect(punchHole(readOnly.fd, 0, 4096)).rejects.toThrow(BAD_DESCRIPTOR);
    expect(() => punchHole(-1, 0, 4096)).toThrow(BAD_DESCRIPTOR);
    expect(() => punchHole(file.fd, 0.5, 4096)).toThrow(/offset 0.5/);
  });
});
