/**
 * Runs VMs on the fake addon: a kernel file that loads, and the environment that chooses a guest.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll } from "vitest";
import { bzImage } from "../firmware/boot-files.js";

export type FakeGuest = "echo" | "flood" | "endless" | "spin";

/** The environment of a VM process that runs a fake guest. */
export function fakeEnvironment(guest: FakeGuest): {
  readonly VMDECK_NATIVE_PATH: string;
  readonly VMDECK_FAKE_GUEST: string;
} {
  return {
    VMDECK_NATIVE_PATH: fileURLToPath(new URL("./fake-addon.cjs", import.meta.url)),
    VMDECK_FAKE_GUEST: guest,
  };
}

/** A directory with a kernel file for the tests of one file, and the process's environment restored after each test. */
export function useFakeGuests(): { kernel(): string; directory(): string; choose(guest: FakeGuest): void } {
  let directory = "";
  const kept = { ...process.env };
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "vmdeck-test-"));
    writeFileSync(join(directory, "kernel"), bzImage());
    // Sockets of this file's VMs alone are in its own temporary directory.
    process.env.TMPDIR = directory;
  });
  afterEach(() => {
    for (const name of ["VMDECK_NATIVE_PATH", "VMDECK_FAKE_GUEST"] as const) {
      if (kept[name] === undefined) delete process.env[name];
      else process.env[name] = kept[name];
    }
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return {
    kernel: () => join(directory, "kernel"),
    directory: () => directory,
    choose: (guest) => {
      Object.assign(process.env, fakeEnvironment(guest));
    },
  };
}
