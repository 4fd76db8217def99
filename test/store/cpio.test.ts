import { describe, expect, test } from "vitest";
import { VmError } from "../../src/errors.js";
import { type CpioEntry, readCpio, writeCpio } from "../../src/store/cpio.js";
import { mutate, randomNumbers } from "../firmware/boot-files.js";

const entries: CpioEntry[] = [
  { kind: "directory", path: "dev", mode: 0o755 },
  { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
  { kind: "directory", path: "root", mode: 0o700 },
  { kind: "file", path: "init", mode: 0o755, contents: new TextEncoder().encode("#!/bin/sh\n") },
  { kind: "file", path: "root/empty", mode: 0o644, contents: new Uint8Array(0) },
  { kind: "file", path: "root/odd", mode: 0o600, contents: new Uint8Array(4097).fill(9) },
  { kind: "symlink", path: "sh", target: "bin/busybox" },
];

describe("newc archives", () => {
  test("read back as written", () => {
    expect(readCpio(writeCpio(entries, 1_700_000_000))).toEqual(
      entries.map((entry) => (entry.kind === "file" ? { ...entry, contents: Uint8Array.from(entry.contents) } : entry)),
    );
  });

  test("are the same bytes for the same entries and time", () => {
    expect(writeCpio(entries, 5)).toEqual(writeCpio(entries, 5));
    expect(writeCpio(entries, 5)).not.toEqual(writeCpio(entries, 6));
  });

  test("have the header that the format describes", () => {
    const archive = writeCpio([{ kind: "file", path: "ab", mode: 0o640, contents: new Uint8Array([1, 2, 3]) }], 0x1234);
    const header = new TextDecoder().decode(archive.subarray(0, 110));
    const fields = header.slice(6).match(/.{8}/g);
    expect(header.slice(0, 6)).toBe("070701");
    expect(fields).toEqual([
      "00000001",
      "000081a0",
      "00000000",
      "00000000",
      "00000001",
      "00001234",
      "00000003",
      "00000000",
      "00000000",
      "00000000",
      "00000000",
      "00000003",
      "00000000",
    ]);
    // The name and its NUL are padded to byte 116, the contents to byte 120, where the trailer starts.
    expect([...archive.subarray(110, 120)]).toEqual([0x61, 0x62, 0, 0, 0, 0, 1, 2, 3, 0]);
    expect(archive.length % 512).toBe(0);
  });

  test.each(["", "/init", "a//b", "../x", "a/./b", "a\0b", "TRAILER!!!"])("refuse the path %j", (path) => {
    expect(() => writeCpio([{ kind: "directory", path }], 0)).toThrow(VmError);
  });

  test("refuse a path twice", () => {
    expect(() =>
      writeCpio(
        [entries[0], entries[0]].filter((entry) => entry !== undefined),
        0,
      ),
    ).toThrow(/repeated/);
  });

  test("2,000 damaged archives are read or refused", () => {
    const random = randomNumbers(7);
    const archive = writeCpio(entries, 1);
    let refused = 0;
    for (let round = 0; round < 2_000; round++) {
      try {
        readCpio(mutate(archive, random, archive.length));
      } catch (error) {
        expect(error).toMatchObject({ code: "VM_INITRD_INVALID" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(200);
  });
});
