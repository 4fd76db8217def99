import { expect, test } from "vitest";
import { parseConfig } from "../../src/config/load.js";
import { VmError } from "../../src/errors.js";

const boot = { kind: "linux", kernel: "/boot/vmlinuz" };

test("defaults are filled in", () => {
  expect(parseConfig({ boot })).toMatchObject({
    version: 1,
    memoryBytes: 512 * 2 ** 20,
    cpus: 1,
    cpu: { model: "x86-64-v2@1", vendor: "GenuineIntel", features: [] },
    engine: "interp",
    serial: { kind: "stdio" },
    disks: [],
    devices: [],
    onReset: "restart",
  });
});

test.each([
  ["nothing", undefined, ""],
  ["no kernel", { boot: { kind: "linux" } }, "boot.kernel"],
  ["an unknown field", { boot, colour: "red" }, "colour"],
  ["too little memory", { boot, memoryBytes: 4096 }, "memoryBytes"],
  ["memory in half pages", { boot, memoryBytes: 2 ** 25 + 2048 }, "memoryBytes"],
  ["a vendor of the wrong length", { boot, cpu: { vendor: "Intel" } }, "cpu.vendor"],
  ["an unknown engine", { boot, engine: "warp" }, "engine"],
  ["a negative seed", { boot, seed: -1 }, "seed"],
  ["an endless command line", { boot: { ...boot, append: "x".repeat(4096) } }, "boot.append"],
  ["a newer version", { version: 2, boot }, "version"],
])("%s is refused, and the field is named", (_what, input, field) => {
  let thrown: unknown;
  try {
    parseConfig(input);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(VmError);
  expect((thrown as VmError).code).toBe("VM_CONFIG_INVALID");
  expect((thrown as VmError).message).toContain(field);
});
