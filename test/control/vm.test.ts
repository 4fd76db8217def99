import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { ControlClient } from "../../src/control/client.js";
import { Vm } from "../../src/control/vm.js";
import type { VmEvent } from "../../src/control/vm-report.js";
import { useFakeGuests } from "./fake-guest.js";

const guests = useFakeGuests();
const options = () => ({ kernel: guests.kernel(), memory: "32MiB" });

function sockets(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith("vmdeck-"));
}

test("a guest is talked to over its serial port and powers itself off", async () => {
  guests.choose("echo");
  const before = sockets();
  const vm = await Vm.run(options());
  await vm.serial.waitFor("ready\n");
  await vm.serial.write("hello ");
  expect((await vm.serial.waitFor(/h(el+)o/))[1]).toBe("ell");
  const stats = await vm.stats();
  expect(stats.instructions).toBeGreaterThan(0);
  expect(stats.exits.io).toBeGreaterThan(0);
  expect((await vm.registers()).gpr).toHaveLength(16);
  await vm.serial.write("q");
  const exit = await vm.wait();
  expect(exit.kind).toBe("powerOff");
  expect(exit.stats.instructions).toBeGreaterThanOrEqual(stats.instructions);
  expect(vm.serial.output).toContain("ready\nhello ");
  expect(sockets()).toEqual(before);
});

test("every way in which a guest ends has its kind", async () => {
  guests.choose("echo");
  const end = async (key: string, extra: object = {}) => {
    const vm = await Vm.run({ ...options(), ...extra });
    await vm.serial.write(key);
    return await vm.wait();
  };
  expect(await end("x", { devices: ["isa-debug-exit"] })).toMatchObject({ kind: "exit", status: 11 });
  expect(await end("c")).toMatchObject({ kind: "crash", reason: "triple fault", dump: "RAX=0123456789abcdef" });
  expect(await end("r", { onReset: "exit" })).toMatchObject({ kind: "reset" });
});

test("a reset starts the guest again and is told as an event", async () => {
  guests.choose("echo");
  await using vm = await Vm.run(options());
  const events = vm.events();
  await vm.serial.waitFor("ready");
  await vm.serial.write("r");
  await vm.serial.waitFor("ready");
  await vm.reset();
  await vm.serial.waitFor("ready");
  await vm.serial.write("q");
  expect((await vm.wait()).stats.resets).toBe(2);
  const kinds: VmEvent["kind"][] = [];
  for await (const event of events) kinds.push(event.kind);
  expect(kinds).toEqual(["reset", "reset", "ended"]);
});

test("a VM that runs too long ends by its time limit", async () => {
  guests.choose("spin");
  const vm = await Vm.run({ ...options(), timeout: "200ms" });
  expect((await vm.wait()).kind).toBe("timeout");
});

test("a VM is killed by call, by signal and at the end of its scope", async () => {
  guests.choose("spin");
  const called = await Vm.run(options());
  await called.kill();
  expect((await called.wait()).kind).toBe("killed");
  await called.kill();
  const controller = new AbortController();
  const aborted = await Vm.run(options(), { signal: controller.signal });
  controller.abort();
  expect((await aborted.wait()).kind).toBe("killed");
  let scoped: Vm;
  {
    await using vm = await Vm.run(options());
    scoped = vm;
  }
  expect((await scoped.wait()).kind).toBe("killed");
});

test("output arrives complete and in order at a reader that is slow", async () => {
  guests.choose("flood");
  const vm = await Vm.run(options());
  let at = 0;
  let wrong = 0;
  let chunks = 0;
  for await (const chunk of vm.serial) {
    for (const byte of chunk) if (byte !== at++ % 251) wrong += 1;
    if (chunks++ % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect({ at, wrong }).toEqual({ at: 1024 * 1024, wrong: 0 });
  expect((await vm.wait()).kind).toBe("powerOff");
});

test("a guest whose reader stands still stands still too, and can be killed", async () => {
  guests.choose("endless");
  const vm = await Vm.run(options());
  const reader = vm.serial[Symbol.asyncIterator]();
  await reader.next();
  // Long enough for every buffer on the way to fill, and then some.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await vm.kill();
  const { kind, stats } = await vm.wait();
  expect(kind).toBe("killed");
  expect(stats.runMs).toBeLessThan(stats.wallMs / 2);
});

test("waits fail with what there is instead", async () => {
  guests.choose("echo");
  const vm = await Vm.run(options());
  await expect(vm.serial.waitFor("never", { timeoutMs: 300 })).rejects.toMatchObject({ code: "VM_TIMEOUT" });
  const wait = expect(vm.serial.waitFor("never")).rejects.toMatchObject({ code: "VM_WRONG_STATE" });
  await vm.serial.write("q");
  await wait;
  await vm.wait();
  await expect(vm.stats()).rejects.toMatchObject({ code: "VM_PROCESS_DIED" });
});

test("a VM process that dies is reported, and leaves no socket", async () => {
  guests.choose("echo");
  const before = sockets();
  const vm = await Vm.run(options());
  await vm.serial.write("k");
  await expect(vm.wait()).rejects.toMatchObject({
    code: "VM_PROCESS_DIED",
    message: expect.stringContaining("SIGKILL"),
  });
  expect(sockets()).toEqual(before);
});

test("a machine that breaks ends its VM process, which says why and leaves no socket", async () => {
  guests.choose("echo");
  const before = sockets();
  const vm = await Vm.run(options());
  await vm.serial.write("!");
  await expect(vm.wait()).rejects.toMatchObject({
    code: "VM_PROCESS_DIED",
    message: expect.stringContaining("the engine is broken (VM_INTERNAL)"),
  });
  expect(sockets()).toEqual(before);
});

test("what is typed faster than the guest reads waits for it, and a guest that never reads can be killed", async () => {
  guests.choose("echo");
  const text = "0123456789abdf\n".repeat(16 * 1024);
  const reading = await Vm.run(options());
  await reading.serial.write(text);
  await reading.serial.write("q");
  await reading.wait();
  expect(reading.serial.output).toBe(`ready\n${text}`);
  guests.choose("spin");
  const deaf = await Vm.run(options());
  let written = false;
  const write = deaf.serial.write(text).then(() => {
    written = true;
  });
  for (let i = 0; i < 8; i++) await deaf.stats();
  expect(written).toBe(false);
  await deaf.kill();
  await write;
  expect((await deaf.wait()).kind).toBe("killed");
});

test("errors of the VM process are the caller's", async () => {
  guests.choose("echo");
  const run = (extra: object) => Vm.run({ ...options(), ...extra });
  await expect(run({ kernel: "/nonexistent/kernel" })).rejects.toMatchObject({ code: "VM_FILE_NOT_FOUND" });
  await expect(run({ kernel: guests.directory() })).rejects.toMatchObject({ code: "VM_FILE_UNREADABLE" });
  await expect(run({ kernel: "/dev/zero" })).rejects.toMatchObject({ code: "VM_FILE_UNREADABLE" });
  await expect(run({ initrd: "/nonexistent/initrd" })).rejects.toMatchObject({ code: "VM_FILE_NOT_FOUND" });
  await expect(run({ kernel: process.execPath })).rejects.toMatchObject({ code: "VM_MEMORY_TOO_SMALL" });
  await expect(run({ devices: ["nonesuch"] })).rejects.toMatchObject({ code: "VM_DEVICE_UNKNOWN" });
  await expect(run({ devices: ["virtio-rng,speed=1"] })).rejects.toMatchObject({ code: "VM_CONFIG_INVALID" });
  await expect(run({ devices: ["isa-debug-exit,iobase=0x60"] })).rejects.toMatchObject({ code: "VM_CONFIG_INVALID" });
  await expect(run({ disks: ["/nonexistent/disk"] })).rejects.toMatchObject({ code: "VM_FILE_NOT_FOUND" });
  await expect(run({ serial: "file:/nonexistent/log" })).rejects.toMatchObject({ code: "VM_FILE_UNREADABLE" });
  process.env.VMDECK_NATIVE_PATH = "/nonexistent/addon.node";
  await expect(run({})).rejects.toMatchObject({ code: "VM_ADDON_MISSING" });
});

test("nobody controls a VM without its token", async () => {
  guests.choose("echo");
  const before = new Set(sockets());
  await using vm = await Vm.run(options());
  await vm.serial.waitFor("ready");
  const directory = sockets().find((name) => !before.has(name));
  const nothing = { event: () => {}, console: () => {}, closed: () => {} };
  await expect(
    ControlClient.connect(`${tmpdir()}/${directory}/control`, "f".repeat(64), nothing),
  ).rejects.toMatchObject({
    code: "VM_PROTOCOL",
  });
});
