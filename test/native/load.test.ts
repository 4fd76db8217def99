import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { registersFromJson, registersToJson } from "../../src/native/addon-engine.js";
import { loadAddon, platformTag } from "../../src/native/load.js";

test("the platform is spelled as the build names its files", () => {
  expect(platformTag("linux", "x64", false)).toBe("linux-x64-gnu");
  expect(platformTag("linux", "arm64", true)).toBe("linux-arm64-musl");
  expect(platformTag("win32", "x64", false)).toBe("win32-x64-msvc");
  expect(platformTag("darwin", "arm64", false)).toBe("darwin-arm64");
});

test("an explicit path that names nothing is a missing addon", () => {
  expect(() => loadAddon({ VMDECK_NATIVE_PATH: "/nonexistent/addon.node" })).toThrow(
    expect.objectContaining({ code: "VM_ADDON_MISSING", hint: expect.stringContaining("VMDECK_NATIVE_PATH") }),
  );
});

test("a file that is no addon is a failing one", () => {
  const directory = mkdtempSync(join(tmpdir(), "vmdeck-test-"));
  try {
    const path = join(directory, "vmdeck.node");
    writeFileSync(path, "no shared library");
    expect(() => loadAddon({ VMDECK_NATIVE_PATH: path })).toThrow(
      expect.objectContaining({ code: "VM_ADDON_FAILED", hint: expect.stringContaining("build:native") }),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("registers cross as JSON without losing a bit", () => {
  const segment = { selector: 8, base: 0xffff_ffff_8000_0000n, limit: 0xffff_ffff, attributes: 0xa09b };
  const registers = {
    gpr: Array.from({ length: 16 }, (_, index) => (1n << 63n) + BigInt(index)),
    rip: 0x10_0200n,
    rflags: 2n,
    cr0: 0x8000_0011n,
    cr2: 0xffff_ffff_ffff_ffffn,
    cr3: 0n,
    cr4: 0x20n,
    cr8: 0n,
    efer: 0x500n,
    apicBase: 0xfee0_0900n,
    segments: Array.from({ length: 8 }, () => segment),
    gdtr: { base: 0x1000n, limit: 31 },
    idtr: { base: 0n, limit: 0 },
  };
  expect(registersFromJson(registersToJson(registers))).toEqual(registers);
});
