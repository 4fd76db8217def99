/**
 * Debian's unmodified cloud kernel, booted to a shell, talked to, and ended by a panic: one boot for all of it.
 */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Vm } from "../../src/control/vm.js";
import { BOOT_PATIENCE_MS, GuestShell } from "./guest-shell.js";
import { miniKernelRelease, TEST_HOME } from "./test-home.js";

/** What the CPU model x86-64-v2@1 has, by the names in /proc/cpuinfo. */
const FLAGS = [
  ...["fpu", "tsc", "msr", "pae", "cx8", "apic", "sep", "pge", "cmov", "pat", "mmx", "fxsr", "sse", "sse2"],
  ...["syscall", "nx", "pdpe1gb", "rdtscp", "lm", "constant_tsc", "pni", "ssse3", "cx16", "pcid", "sse4_1", "sse4_2"],
  ...["x2apic", "popcnt", "tsc_deadline_timer", "aes", "xsave", "hypervisor", "lahf_lm", "fsgsbase", "smep", "smap"],
  ...["erms", "fsrm", "umip"],
];
const TROUBLE =
  /ACPI (BIOS )?(Error|Warning)|Firmware Bug|BUG:|WARNING:|Call Trace|Oops|unchecked MSR|general protection|segfault|I\/O error|lockup|stall/i;
const PROMPT = "mini:~# ";

let directory: string;
let vm: Vm;
let shell: GuestShell;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-e2e-"));
  vm = await Vm.run({
    image: "mini",
    home: TEST_HOME,
    append: "panic=-1",
    onReset: "exit",
    devices: ["virtio-rng", `virtio-console,path=${join(directory, "hvc0")}`],
  });
});

afterAll(async () => {
  await vm?.kill();
  await rm(directory, { recursive: true, force: true });
});

test("the kernel boots to a shell that answers", async () => {
  await vm.serial.waitFor(PROMPT, { timeoutMs: BOOT_PATIENCE_MS });
  await vm.serial.write("echo $((6 * 7))\n");
  await vm.serial.waitFor("\r\n42\r\n");
  shell = await GuestShell.login(vm, PROMPT);
  expect(await shell.run("echo $((1234567 * 7654321)) $((1 << 62)) $((-7 / 2)) $((-7 % 2))")).toBe(
    "9449772114007 4611686018427387904 -3 -1",
  );
});

test("the kernel is the one of the manifest", async () => {
  expect(await shell.run("uname -r")).toBe(await miniKernelRelease());
});

test("the processor has the model's features", async () => {
  const flags = (await shell.run("grep -m1 ^flags /proc/cpuinfo")).split(/\s+/);
  expect(FLAGS.filter((flag) => !flags.includes(flag))).toEqual([]);
});

test("programs compute what they compute elsewhere", async () => {
  const lines = Array.from({ length: 3000 }, (_, index) => `${index + 1}\n`).join("");
  const hash = (algorithm: string) => createHash(algorithm).update(lines).digest("hex");
  expect(await shell.run("seq 1 3000 | sha256sum")).toBe(`${hash("sha256")}  -`);
  expect(await shell.run("seq 1 3000 | gzip | gunzip | md5sum")).toBe(`${hash("md5")}  -`);
  let sum = 0;
  for (let n = 1; n <= 1000; n++) sum += 1 / n;
  const script = 'BEGIN { for (n = 1; n <= 1000; n++) sum += 1 / n; printf "%.15g", sum }';
  expect(await shell.run(`awk '${script}'`)).toBe(sum.toPrecision(15));
});

test("the guest keeps time by the TSC, and its date is the host's", async () => {
  const source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
  expect(await shell.run(`while grep -q early ${source}; do usleep 50000; done; cat ${source}`)).toBe("tsc");
  const seconds = Number(await shell.run("date +%s"));
  expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(10);
  const rtc = Number(await shell.run("cat /sys/class/rtc/rtc0/since_epoch"));
  expect(Math.abs(rtc - Date.now() / 1000)).toBeLessThan(10);
  const start = performance.now();
  await shell.run("sleep 1");
  const elapsed = performance.now() - start;
  expect(elapsed).toBeGreaterThan(800);
  expect(elapsed).toBeLessThan(2500);
});

test("the entropy device gives bytes, by message-signalled interrupts", async () => {
  const count = async () => {
    const lines = (await shell.run("cat /proc/interrupts")).split("\n").filter((line) => line.includes("PCI-MSI"));
    return { lines: lines.length, total: lines.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[1]), 0) };
  };
  const before = await count();
  const [first, second] = [0, 1].map(() => shell.run("head -c 4096 /dev/hwrng | sha256sum"));
  expect(await first).toMatch(/^[0-9a-f]{64}/);
  expect(await second).not.toBe(await first);
  const after = await count();
  expect(before.lines).toBeGreaterThanOrEqual(2);
  expect(after.total).toBeGreaterThan(before.total);
});

test("what the guest writes to its virtio console is in the file", async () => {
  await shell.run("seq 1 1000 > /dev/hvc0");
  const expected = Array.from({ length: 1000 }, (_, index) => `${index + 1}\r\n`).join("");
  // The guest goes on as soon as the device has taken the bytes; the file has them a moment later.
  await expect.poll(() => readFile(join(directory, "hvc0"), "utf8"), { timeout: 60_000, interval: 100 }).toBe(expected);
});

test("the power button is an ACPI event in the guest", async () => {
  const presses = async () => Number(/\d+/.exec(await shell.run("cat /sys/firmware/acpi/interrupts/ff_pwr_btn"))?.[0]);
  expect(await presses()).toBe(0);
  await vm.powerButton();
  await expect.poll(presses, { timeout: 60_000, interval: 100 }).toBe(1);
});

test("registers and statistics are those of a running Linux", async () => {
  const { cr0, cr4, efer } = await vm.registers();
  expect({ paging: cr0 >> 31n, pae: (cr4 >> 5n) & 1n, longMode: (efer >> 10n) & 1n }).toEqual({
    paging: 1n,
    pae: 1n,
    longMode: 1n,
  });
  const stats = await vm.stats();
  expect(stats.instructions).toBeGreaterThan(10_000_000);
  expect(stats.interrupts).toBeGreaterThan(100);
  expect(stats.exceptions).toBeGreaterThan(100);
});

test("the kernel has nothing to complain about", async () => {
  const log = await shell.run("dmesg");
  expect(log).toContain("Linux version");
  expect(log.split("\n").filter((line) => TROUBLE.test(line))).toEqual([]);
});

test("a panic resets the machine, which then ends", async () => {
  await shell.type("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger");
  await vm.serial.waitFor(/Kernel panic - not syncing: sysrq triggered crash/, { timeoutMs: BOOT_PATIENCE_MS });
  const exit = await vm.wait();
  expect(exit.kind).toBe("reset");
  expect(exit.stats.resets).toBe(0);
});
