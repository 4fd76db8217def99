/**
 * `vmdeck run` as scripts and people use it: the compiled program in a process of its own, on the fake addon.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type FakeGuest, fakeEnvironment, useFakeGuests } from "../control/fake-guest.js";

const guests = useFakeGuests();
const BIN = fileURLToPath(new URL("../../bin/vmdeck.js", import.meta.url));

function start(guest: FakeGuest, ...argv: string[]): ChildProcessWithoutNullStreams {
  const args = [BIN, "run", "--kernel", guests.kernel(), "-m", "32MiB", ...argv];
  return spawn(process.execPath, args, { env: { ...process.env, ...fakeEnvironment(guest) } });
}

/** Gathers all output, until the process has ended. */
async function finish(child: ChildProcessWithoutNullStreams) {
  const out: Buffer[] = [];
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { status, out: Buffer.concat(out), err };
}

const firstOutput = (child: ChildProcessWithoutNullStreams) =>
  new Promise((resolve) => child.stdout.once("data", resolve));

/** Process ids of a process's children, from the kernel. */
function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
}

test("in pipes the guest's bytes pass unchanged, and nothing else", async () => {
  const child = start("flood");
  const { status, out, err } = await finish(child);
  expect({ status, err, bytes: out.length }).toEqual({ status: 0, err: "", bytes: 1024 * 1024 });
  expect(out.every((byte, index) => byte === index % 251)).toBe(true);
});

test("standard input is typed into the guest, and its end does not end the VM", async () => {
  const child = start("echo", "--timeout", "10s");
  child.stdin.end("hello q");
  const { status, out } = await finish(child);
  expect(status).toBe(0);
  expect(out.toString()).toBe("ready\nhello ");
  const open = start("echo", "--timeout", "500ms");
  open.stdin.end();
  expect((await finish(open)).status).toBe(5);
});

test("exit statuses: debug exit, timeout, crash with a dump, reset", async () => {
  const end = async (keys: string, ...argv: string[]) => {
    const child = start("echo", ...argv);
    child.stdin.end(keys);
    return await finish(child);
  };
  expect((await end("x", "--device", "isa-debug-exit")).status).toBe(11);
  const timeout = await end("", "--timeout", "300ms");
  expect(timeout.status).toBe(5);
  expect(timeout.err).toContain("(VM_TIMEOUT)");
  const crash = await end("c");
  expect(crash.status).toBe(6);
  expect(crash.err).toMatch(/triple fault \(VM_GUEST_CRASHED\)[\s\S]*RAX=0123456789abcdef/);
  expect((await end("r", "--no-reboot")).status).toBe(0);
});

test("an interrupt ends the VM with 130, a termination with 143", async () => {
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    const echo = start("echo");
    await firstOutput(echo);
    echo.kill(signal);
    expect((await finish(echo)).status).toBe(status);
  }
});

test("a reader that goes away ends the VM quietly", async () => {
  const child = start("endless");
  await firstOutput(child);
  child.stdout.destroy();
  const { status, err } = await finish(child);
  expect(status).toBe(141);
  expect(err).toBe("");
});

test("a VM does not outlive the program that started it", async () => {
  const child = start("echo");
  await firstOutput(child);
  const [vmProcess] = childrenOf(child.pid ?? 0);
  expect(vmProcess).toBeGreaterThan(0);
  child.kill("SIGKILL");
  await finish(child);
  const alive = () => {
    try {
      process.kill(vmProcess ?? 0, 0);
      return true;
    } catch {
      return false;
    }
  };
  for (let i = 0; i < 100 && alive(); i++) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(alive()).toBe(false);
});

test("the end and statistics are reported as a line or as JSON, beside the guest's output", async () => {
  const text = start("echo", "--stats");
  text.stdin.end("q");
  expect((await finish(text)).err).toMatch(
    /^vmdeck: \d+ instructions .*exits: .*io \d+.*in guest .* interrupts 0.*\n$/,
  );
  const json = start("echo", "--stats", "--json");
  json.stdin.end("q");
  const { err, out } = await finish(json);
  expect(out.toString()).toBe("ready\n");
  expect(JSON.parse(err)).toMatchObject({ kind: "powerOff", exitStatus: 0, stats: { resets: 0 } });
});

test("JSON tells the error by its code, and the exit status that follows", async () => {
  const timeout = start("spin", "--timeout", "200ms", "--json");
  const { status, err } = await finish(timeout);
  expect(status).toBe(5);
  expect(JSON.parse(err)).toMatchObject({ kind: "timeout", exitStatus: 5, error: { code: "VM_TIMEOUT" } });
  const interrupted = start("echo", "--json");
  await firstOutput(interrupted);
  interrupted.kill("SIGINT");
  expect(JSON.parse((await finish(interrupted)).err)).toMatchObject({ kind: "killed", exitStatus: 130 });
});

test("the serial port goes to a file or nowhere, and JSON to standard output then", async () => {
  const log = join(guests.directory(), "serial.log");
  const file = await finish(start("flood", "--serial", `file:${log}`, "--json"));
  expect(JSON.parse(file.out.toString())).toMatchObject({ kind: "powerOff" });
  expect(readFileSync(log).length).toBe(1024 * 1024);
  const none = await finish(start("flood", "--serial", "none"));
  expect({ status: none.status, out: none.out.length }).toEqual({ status: 0, out: 0 });
});

/** Runs a shell script on a terminal of its own, typing `keys` once `prompt` has appeared. */
async function onTerminal(script: string, prompt: string, keys: string) {
  const child = spawn("script", ["-qec", script, "/dev/null"], {
    env: { ...process.env, ...fakeEnvironment("echo"), SHELL: "/bin/sh" },
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    const before = out.includes(prompt);
    out += chunk.toString();
    if (!before && out.includes(prompt)) child.stdin.write(keys);
  });
  await new Promise((resolve) => child.on("close", resolve));
  return out;
}

test.each([
  ["Ctrl-]", "\x1d", 0],
  ["the guest's power off", "q", 0],
  ["a crash of the guest", "c", 6],
])("a terminal is raw for the guest and sane after %s", async (_what, keys, status) => {
  const command = `${process.execPath} ${BIN} run --kernel ${guests.kernel()} -m 32MiB`;
  const out = await onTerminal(
    `echo "<$(stty -g)>"; ${command}; echo "status $?"; echo "<$(stty -g)>"`,
    "ready",
    `a\x03${keys}`,
  );
  const [before, after] = [...out.matchAll(/<([0-9a-f:]+)>/g)].map(([, modes]) => modes);
  expect(before).toBeTruthy();
  expect(after).toBe(before);
  expect(out).toContain(`status ${status}`);
  // Ctrl-C reached the guest, which echoed it, and no line discipline echoed the keys a second time.
  if (keys !== "\x1d") expect(out.replaceAll("\r", "")).toContain("ready\na\x03");
});

test("a terminal is sane after a termination signal", async () => {
  const command = `${process.execPath} ${BIN} run --kernel ${guests.kernel()} -m 32MiB`;
  const script = `echo "<$(stty -g)>"; (sleep 2; kill -TERM $(cat ${guests.directory()}/pid)) & sh -c 'echo $$ > ${guests.directory()}/pid; exec ${command}'; echo "status $?"; echo "<$(stty -g)>"`;
  const out = await onTerminal(script, "never", "");
  const [before, after] = [...out.matchAll(/<([0-9a-f:]+)>/g)].map(([, modes]) => modes);
  expect(after).toBe(before);
  expect(out).toContain("status 143");
});
