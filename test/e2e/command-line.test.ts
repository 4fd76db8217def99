/**
 * `vmdeck` from end to end on the real processor: guests of a few instructions for every way of ending, and Debian's
 * kernel once, in pipes.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { debugExit, ECHO, HALT, HANG, POWER_OFF, print, RESET, TRIPLE_FAULT } from "../guest/code.js";
import { pvhKernel } from "../guest/pvh.js";
import { isAlive, Program, runProgram, socketsIn } from "./program.js";
import { BIN, TEST_HOME } from "./test-home.js";

const GUESTS = {
  hello: [...print("hello from the guest\n"), ...POWER_OFF],
  halts: [...print("halting\n"), ...HALT],
  hangs: [...print("hanging\n"), ...HANG],
  echo: [...print("ready\n"), ...ECHO, ...POWER_OFF],
  faults: [...print("last words\n"), ...TRIPLE_FAULT],
  resets: [...print("again\n"), ...RESET],
  exits: [...print("bye\n"), ...debugExit(0x15)],
  bytes: [...Array.from({ length: 256 }, (_, byte) => print(String.fromCharCode(byte))).flat(), ...POWER_OFF],
} as const;
/** What the image's init says before its shell. */
const GREETING = '"poweroff" ends the machine.';
type Guest = keyof typeof GUESTS;

let directory: string;
/** Where the program's sockets would be left. */
let sockets: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "vmdeck-e2e-"));
  sockets = mkdtempSync(join(directory, "tmp-"));
  for (const [name, code] of Object.entries(GUESTS)) writeFileSync(join(directory, name), pvhKernel(code));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function argumentsFor(guest: Guest, ...options: string[]): string[] {
  return ["run", "--kernel", join(directory, guest), "-m", "16MiB", ...options];
}

const vmdeck = (...args: string[]) => runProgram(args, sockets);
const run = (guest: Guest, ...options: string[]) => vmdeck(...argumentsFor(guest, ...options));

describe("Debian's kernel in pipes", () => {
  test("reboot boots it again, poweroff ends it with status 0, and only the guest is on standard output", async () => {
    await using program = new Program(["run", "mini", "--home", TEST_HOME, "--stats"], sockets);
    // A shell that is told to end may prompt once more; the greeting comes once a boot.
    const login = async (from = 0) => await program.waitFor("mini:~# ", await program.waitFor(GREETING, from));
    const first = await login();
    program.type("echo by$((1 + 1))es; reboot\n");
    await login(await program.waitFor("by2es\r\n", first));
    program.type("poweroff\n");
    const { status, out, err } = await program.finished();
    expect(status).toBe(0);
    expect(out.split(GREETING)).toHaveLength(3);
    expect(out).not.toContain("vmdeck:");
    expect(err).toMatch(/^vmdeck: \d+ instructions .*\n$/);
    expect(socketsIn(sockets)).toEqual([]);
  });
});

describe("a guest of a few instructions", () => {
  test("powers off: status 0, its output and nothing else", async () => {
    expect(await run("hello")).toEqual({ status: 0, out: "hello from the guest\n", err: "" });
  });

  test("prints every byte there is, unchanged", async () => {
    const { status, out } = await run("bytes");
    expect(status).toBe(0);
    expect(out).toBe(String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte)));
  });

  test("reads what is piped in", async () => {
    const { status, out } = await runProgram(argumentsFor("echo"), sockets, "piped\x00\xff in q");
    expect(status).toBe(0);
    expect(Buffer.from(out, "latin1").toString("utf8")).toBe("ready\npiped\x00\xff in ");
  });

  test("ends with its own status through isa-debug-exit", async () => {
    expect(await run("exits", "--device", "isa-debug-exit")).toEqual({ status: 0x2b, out: "bye\n", err: "" });
  });

  test("crashes by a triple fault: status 6 and a register dump", async () => {
    const { status, out, err } = await run("faults");
    expect({ status, out }).toEqual({ status: 6, out: "last words\n" });
    expect(err).toMatch(/^error: the guest crashed: triple fault \(VM_GUEST_CRASHED\)\nhint: /);
    // mov al, '\n' was the last thing that touched rax; the code starts at 1 MiB.
    expect(err).toMatch(/\brax 0{14}0a\b/);
    expect(err).toMatch(/\brip 0{10}10[0-9a-f]{4}\b/);
    for (const name of ["rflags", "r15", "cr0", "cr3", "cr4", "efer", "cs", "ss", "gdtr", "idtr"]) {
      expect(err).toContain(`${name} `);
    }
  });

  test.each(["halts", "hangs"] as const)("that %s is ended by --timeout: status 5", async (guest) => {
    const { status, out, err } = await run(guest, "--timeout", "700ms");
    expect({ status, out }).toEqual({ status: 5, out: `${guest.slice(0, -1).replace(/t$/, "t")}ing\n` });
    expect(err).toMatch(/^error: .*700ms \(VM_TIMEOUT\)\nhint: .*\n$/);
  });

  test("that halts for good costs next to no processor time", async () => {
    const { err } = await run("halts", "--timeout", "1s", "--stats", "--json");
    const { stats } = JSON.parse(err);
    expect(stats.runMs).toBeLessThan(stats.wallMs / 5);
  });

  test("resets: ends with --no-reboot, and otherwise starts again", async () => {
    expect(await run("resets", "--no-reboot")).toEqual({ status: 0, out: "again\n", err: "" });
    const { status, out, err } = await run("resets", "--timeout", "1s", "--json", "--stats");
    const { stats } = JSON.parse(err);
    expect(status).toBe(5);
    expect(stats.resets).toBeGreaterThan(1);
    expect(out.startsWith("again\nagain\n")).toBe(true);
  });

  test("is described by --stats --json", async () => {
    const { status, err } = await run("hello", "--stats", "--json");
    expect(status).toBe(0);
    const report = JSON.parse(err);
    expect(report).toMatchObject({ kind: "powerOff", exitStatus: 0, stats: { resets: 0, interrupts: 0 } });
    // Seven instructions, two of them port accesses, for each of 21 characters; two and a last access to power off.
    expect(report.instructions).toBe(21 * 7 + 2);
    expect(report.stats.instructions).toBe(report.instructions);
    expect(report.stats.exits.io).toBe(21 * 2 + 1);
    expect(Object.values(report.stats.exits).every((count) => Number.isInteger(count))).toBe(true);
  });

  test("prints to a file with --serial file:PATH", async () => {
    const log = join(directory, "serial.log");
    expect(await run("hello", "--serial", `file:${log}`)).toEqual({ status: 0, out: "", err: "" });
    expect(readFileSync(log, "latin1")).toBe("hello from the guest\n");
  });

  test("runs the same number of instructions each time with --seed", async () => {
    const counts = await Promise.all(
      [1, 2].map(async () => JSON.parse((await run("hello", "--seed", "1", "--json")).err).instructions),
    );
    expect(counts[1]).toBe(counts[0]);
  });
});

describe("a VM's end", () => {
  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGKILL", null],
  ] as const)("by %s leaves no process and no socket behind", async (signal, status) => {
    await using program = new Program(argumentsFor("hangs"), sockets);
    await program.waitFor("hanging\n");
    const [vmProcess = 0] = program.vmProcesses();
    expect(isAlive(vmProcess)).toBe(true);
    program.child.kill(signal);
    expect((await program.finished()).status).toBe(status);
    await expect.poll(() => isAlive(vmProcess), { timeout: 20_000, interval: 50 }).toBe(false);
    await expect.poll(() => socketsIn(sockets), { timeout: 5_000, interval: 50 }).toEqual([]);
  });
});

describe("on a terminal", () => {
  /** What a shell on a terminal of its own shows, `keys` being typed once the guest is ready. */
  async function onTerminal(script: string, keys: string): Promise<string> {
    const child = spawn("script", ["-qec", script, "/dev/null"], {
      env: { ...process.env, SHELL: "/bin/sh", TMPDIR: sockets },
    });
    let out = "";
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      const before = out.includes("ready");
      out += text;
      if (!before && out.includes("ready")) child.stdin.write(keys);
    });
    await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
    return out;
  }

  test("keys reach the guest as they are, Ctrl-] ends it, and the terminal is as before", async () => {
    const command = [process.execPath, BIN, ...argumentsFor("echo")].join(" ");
    const out = await onTerminal(
      `echo "<$(stty -g)>"; ${command}; echo "status $?"; echo "<$(stty -g)>"`,
      "a\x03\x04b\x1d",
    );
    const [before, after] = [...out.matchAll(/<([0-9a-f:]+)>/g)].map(([, modes]) => modes);
    expect(before).toMatch(/:/);
    expect(after).toBe(before);
    expect(out).toContain("Ctrl-] ends it");
    expect(out).toContain("status 0");
    expect(socketsIn(sockets)).toEqual([]);
  });
});

describe("bad input is refused with a code and a hint", () => {
  const kernel = () => join(directory, "hello");
  const at = (name: string, contents: Uint8Array | string) => {
    const path = join(directory, name);
    writeFileSync(path, contents);
    return path;
  };
  /** An ELF header that promises more than any machine has. */
  const hostile = () => {
    const file = pvhKernel(HALT);
    new DataView(file.buffer).setUint32(52 + 32 + 20, 0xffff_ffff, true);
    return file;
  };
  const linuxKernel = () => readFileSync(join(TEST_HOME, "images", "mini", "kernel"));

  test.each<[string, number, string, () => string[]]>([
    ["a missing kernel", 1, "VM_FILE_NOT_FOUND", () => ["--kernel", join(directory, "absent")]],
    ["a directory for a kernel", 1, "VM_FILE_UNREADABLE", () => ["--kernel", directory]],
    ["an empty kernel", 1, "VM_KERNEL_INVALID", () => ["--kernel", at("empty", "")]],
    ["a text for a kernel", 1, "VM_KERNEL_INVALID", () => ["--kernel", at("text", "no kernel\n".repeat(500))]],
    ["half an ELF kernel", 1, "VM_KERNEL_INVALID", () => ["--kernel", at("half", pvhKernel(HALT).subarray(0, 100))]],
    ["a hostile ELF kernel", 1, "VM_KERNEL_INVALID", () => ["--kernel", at("hostile", hostile())]],
    [
      "a Linux kernel cut short",
      1,
      "VM_KERNEL_INVALID",
      () => ["--kernel", at("cut", linuxKernel().subarray(0, 99_999))],
    ],
    ["an ELF file that is no kernel", 1, "VM_MEMORY_TOO_SMALL", () => ["--kernel", process.execPath, "-m", "64MiB"]],
    ["a missing initrd", 1, "VM_FILE_NOT_FOUND", () => ["--kernel", kernel(), "--initrd", join(directory, "absent")]],
    ["an empty initrd", 1, "VM_INITRD_INVALID", () => ["--kernel", kernel(), "--initrd", at("initrd", "")]],
    [
      "an initrd larger than memory",
      1,
      "VM_MEMORY_TOO_SMALL",
      () => ["--kernel", kernel(), "-m", "16MiB", "--initrd", at("large", Buffer.alloc(15 << 20))],
    ],
    ["a missing disk", 1, "VM_FILE_NOT_FOUND", () => ["--kernel", kernel(), "--disk", join(directory, "absent")]],
    ["an empty disk", 1, "VM_DISK_INVALID", () => ["--kernel", kernel(), "--disk", at("disk0", "")]],
    [
      "a disk of half a sector",
      1,
      "VM_DISK_INVALID",
      () => ["--kernel", kernel(), "--disk", at("disk1", "x".repeat(700))],
    ],
    ["a device that nobody knows", 2, "VM_DEVICE_UNKNOWN", () => ["--kernel", kernel(), "--device", "flux-capacitor"]],
    ["a CPU that nobody knows", 2, "VM_CPU_UNKNOWN", () => ["--kernel", kernel(), "--cpu", "i8086"]],
    ["a CPU feature that nobody has", 2, "VM_CPU_UNKNOWN", () => ["--kernel", kernel(), "--cpu", ",+warp"]],
    ["a memory size without unit", 2, "VM_USAGE", () => ["--kernel", kernel(), "-m", "512"]],
    ["too little memory", 2, "VM_CONFIG_INVALID", () => ["--kernel", kernel(), "-m", "4KiB"]],
    ["more memory than there can be", 2, "VM_CONFIG_INVALID", () => ["--kernel", kernel(), "-m", "9999GiB"]],
    ["a flag that nobody knows", 2, "VM_USAGE", () => ["--kernel", kernel(), "--kvm"]],
    ["nothing to boot", 2, "VM_USAGE", () => []],
    ["an image that is not there", 1, "VM_IMAGE_NOT_FOUND", () => ["nonesuch", "--home", TEST_HOME]],
  ])("%s: status %d, %s", async (_what, status, code, options) => {
    const args = options();
    const before = readdirSync(directory).sort();
    const log = join(directory, "never.log");
    const finished = await vmdeck("run", ...args, "--serial", `file:${log}`);
    expect(finished).toMatchObject({ status, out: "" });
    expect(finished.err).toMatch(new RegExp(`^error: .+ \\(${code}\\)\nhint: .+\n$`, "s"));
    expect(readdirSync(directory).sort()).toEqual(before);
    expect(socketsIn(sockets)).toEqual([]);
  });
});

describe("the other commands", () => {
  test("image ls lists the image that was built", async () => {
    const { status, out } = await vmdeck("image", "ls", "--json", "--home", TEST_HOME);
    expect(status).toBe(0);
    expect(JSON.parse(out)).toEqual([expect.objectContaining({ version: 1, name: "mini" })]);
  });

  test("doctor finds all in order, and measures", async () => {
    const { status, out } = await vmdeck("doctor", "--json", "--home", TEST_HOME);
    const findings = JSON.parse(out) as { name: string; ok: boolean; text: string }[];
    expect({ status, failed: findings.filter(({ ok }) => !ok) }).toEqual({ status: 0, failed: [] });
    const text = (name: string) => findings.find((finding) => finding.name === name)?.text ?? "";
    expect(Number.parseFloat(text("speed"))).toBeGreaterThan(1);
    expect(text("images")).toBe("mini");
    expect(text("engine")).toContain("x86-64-v2@1");
  });

  test("version and completion come from the program itself", async () => {
    const version = await vmdeck("version", "--json");
    expect(JSON.parse(version.out)).toMatchObject({ vmdeck: expect.any(String), engine: expect.any(String) });
    const completion = await vmdeck("completion", "bash");
    expect(completion.status).toBe(0);
    expect(completion.out).toContain("complete -o default -F _vmdeck vmdeck");
  });
});
