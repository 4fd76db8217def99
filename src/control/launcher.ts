/**
 * Starts VM processes: a Node process of its own, detached from the terminal, that reads what to do from its standard
 * input and lives as long as that stays open.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { VmError } from "../errors.js";
import type { EngineSpeed } from "../machine/self-test.js";
import { fromRpcError, type Launch, type LaunchAnswer, launchAnswerSchema } from "./protocol.js";

/** Standard error kept to explain a process that died. */
const STDERR_CHARACTERS = 16 * 1024;

/** A running VM process. */
export interface VmProcess {
  readonly pid: number;
  /** What it said once it was ready (or done, for a self-test). */
  readonly answer: Exclude<LaunchAnswer, { kind: "error" }>;
  /** Resolves when the process is gone, with a description of how it went. */
  readonly exited: Promise<string>;
  /** Ends it by force. */
  destroy(): void;
}

/**
 * Starts a VM process and waits for its answer.
 * @throws VmError what the process reports, or VM_PROCESS_DIED when it dies without a word.
 */
export async function launch(request: Launch): Promise<VmProcess> {
  // From src/control and from dist/control alike, this is the compiled entry point.
  const entry = fileURLToPath(new URL("../../dist/control/vm-process.js", import.meta.url));
  const child = spawn(process.execPath, [entry], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
  });
  // A process that dies early breaks these pipes; its exit tells why.
  child.stdin.on("error", () => {});
  const exited = describeExit(child);
  child.stdin.write(`${JSON.stringify(request)}\n`);
  const line = await Promise.race([firstLine(child.stdout), exited.then(() => undefined)]);
  const answer = parseAnswer(line) ?? {
    kind: "error",
    error: { code: 0, message: `the VM process died: ${await exited}`, data: { code: "VM_PROCESS_DIED" } },
  };
  if (answer.kind === "error") {
    child.kill("SIGKILL");
    throw fromRpcError(answer.error);
  }
  return { pid: child.pid ?? 0, answer, exited, destroy: () => child.kill("SIGKILL") };
}

/**
 * Measures the engine in a process of its own.
 * @throws VmError as `launch`.
 */
export async function selfTest(milliseconds: number): Promise<EngineSpeed> {
  const { answer, exited } = await launch({ kind: "selfTest", milliseconds });
  await exited;
  if (answer.kind !== "selfTest") throw new VmError("VM_PROTOCOL", `a self-test answered ${answer.kind}`);
  return { instructions: answer.instructions, milliseconds: answer.milliseconds };
}

function firstLine(stdout: Readable): Promise<string | undefined> {
  const lines = createInterface({ input: stdout });
  return new Promise((resolve) => {
    lines.once("line", resolve);
    lines.once("close", () => resolve(undefined));
  });
}

function parseAnswer(line: string | undefined): LaunchAnswer | undefined {
  try {
    return launchAnswerSchema.parse(JSON.parse(line ?? ""));
  } catch {
    return undefined;
  }
}

function describeExit(child: ChildProcessByStdio<Writable, Readable, Readable>): Promise<string> {
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS);
  });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (status, signal) => {
      const how = signal === null ? `exit status ${status}` : `signal ${signal}`;
      resolve(stderr.trim() === "" ? how : `${how}: ${stderr.trim()}`);
    });
  });
}
