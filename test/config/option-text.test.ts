import { resolve } from "node:path";
import { expect, test } from "vitest";
import { parseCpuOption, parseDeviceOption, parseDiskOption, parseSerialOption } from "../../src/config/option-text.js";
import { VmError } from "../../src/errors.js";

test("a CPU has a model, a vendor and features added and removed", () => {
  expect(parseCpuOption("x86-64-v2@1")).toEqual({ model: "x86-64-v2@1" });
  expect(parseCpuOption("x86-64-v2@1,vendor=AuthenticAMD,-aes,+sse4_1")).toEqual({
    model: "x86-64-v2@1",
    vendor: "AuthenticAMD",
    features: [
      { name: "aes", enabled: false },
      { name: "sse4_1", enabled: true },
    ],
  });
  expect(parseCpuOption(",-aes")).toEqual({ features: [{ name: "aes", enabled: false }] });
});

test("a disk is a file, made absolute, perhaps read-only", () => {
  expect(parseDiskOption("a.img")).toEqual({ path: resolve("a.img"), readOnly: false });
  expect(parseDiskOption("/b.img,ro")).toEqual({ path: resolve("/b.img"), readOnly: true });
});

test("a serial port is stdio, nothing or a file", () => {
  expect(parseSerialOption("stdio")).toEqual({ kind: "stdio" });
  expect(parseSerialOption("none")).toEqual({ kind: "none" });
  expect(parseSerialOption("file:log")).toEqual({ kind: "file", path: resolve("log") });
});

test("a device has a name and options", () => {
  expect(parseDeviceOption("virtio-rng")).toEqual({ name: "virtio-rng", options: {} });
  expect(parseDeviceOption("d,a=1,b=x=y")).toEqual({ name: "d", options: { a: "1", b: "x=y" } });
});

test.each([
  ["cpu", () => parseCpuOption("m,aes")],
  ["cpu feature", () => parseCpuOption("m,+AES!")],
  ["empty disk", () => parseDiskOption("")],
  ["disk flag", () => parseDiskOption("a.img,rw")],
  ["serial", () => parseSerialOption("tcp:1")],
  ["serial file", () => parseSerialOption("file:")],
  ["device option", () => parseDeviceOption("d,key")],
  ["device key", () => parseDeviceOption("d,=v")],
])("a malformed %s is a usage error with a hint", (_what, parse) => {
  let thrown: unknown;
  try {
    parse();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(VmError);
  expect((thrown as VmError).code).toBe("VM_USAGE");
  expect((thrown as VmError).hint).toBeTruthy();
});
