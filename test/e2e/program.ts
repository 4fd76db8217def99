/**
 * Runs the compiled command line program in a process of its own, and looks after what it leaves behind.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { BIN } from "./test-home.js";

const PATIENCE_MS = 240_000;

export interface Finished {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** A running `vmdeck`, its output gathered as it comes. */
export class Program implements AsyncDisposable {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<number | null>;
  #out = "";
  #err = "";
  #onOutput = () => {};

  /** Starts it; `directory` is where it may leave sockets. */
  constructor(args: readonly string[], directory: string) {
    this.child = spawn(process.execPath, [BIN, ...args], { env: { ...process.env, TMPDIR: directory } });
    this.child.stdin.on("error", () => {});
    this.child.stdout.setEncoding("latin1").on("data", (text: string) => {
      this.#out += text;
      this.#onOutput();
    });
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#err += text;
    });
    this.#closed = new Promise((resolve) => this.child.on("close", resolve));
    this.#closed.then(() => this.#onOutput());
  }

  /** Everything on standard output so far, a character a byte. */
  get out(): string {
    return this.#out;
  }

  /** Waits until standard output has `text` behind its first `from` characters; returns where it ends. */
  async waitFor(text: string, from = 0): Promise<number> {
    const end = () => {
      const at = this.#out.indexOf(text, from);
      return at < 0 ? undefined : at + text.length;
    };
    return await new Promise((resolve, reject) => {
      const fail = (why: string) => {
        clearTimeout(timer);
        this.#onOutput = () => {};
        reject(new Error(`${JSON.stringify(text)} ${why}; output ends with ${JSON.stringify(this.#out.slice(-400))}`));
      };
      const timer = setTimeout(() => fail("did not appear"), PATIENCE_MS);
      this.#onOutput = () => {
        const found = end();
        if (found === undefined) {
          if (this.child.exitCode !== null) fail(`did not appear before the end (${this.#err})`);
          return;
        }
        clearTimeout(timer);
        this.#onOutput = () => {};
        resolve(found);
      };
      this.#onOutput();
    });
  }

  /** Types into standard input. */
  type(text: string): void {
    this.child.stdin.write(text);
  }

  async finished(): Promise<Finished> {
    const status = await this.#closed;
    return { status, out: this.#out, err: this.#err };
  }

  /** Ends it, if a test left it running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#closed;
  }

  /** Process ids of its VM processes. */
  vmProcesses(): number[] {
    const pid = this.child.pid ?? 0;
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return list === "" ? [] : list.split(" ").map(Number);
  }
}

/** Runs it to its end with this standard input. */
export async function runProgram(args: readonly string[], directory: string, input = ""): Promise<Finished> {
  const program = new Program(args, directory);
  program.child.stdin.end(input);
  return await program.finished();
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Sockets' directories that VM processes have left, or still use, in `directory`. */
export function socketsIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.startsWith("vmdeck-"));
}
