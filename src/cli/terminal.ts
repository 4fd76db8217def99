/**
 * The user's terminal, or pipes, as the guest's serial console.
 *
 * A terminal is put into raw mode, so that every key reaches the guest, Ctrl-C included; Ctrl-] is ours and ends the VM.
 * Whatever happens, it is put back. In pipes bytes pass both ways unchanged; the end of input does not end the VM.
 */
import type { ReadStream, WriteStream } from "node:tty";
import type { Vm } from "../control/vm.js";
import { EXIT_STATUS } from "./exit-codes.js";

/** Ctrl-]. */
const ESCAPE_KEY = 0x1d;
/** Undoes what guests leave behind: colours, hidden cursor, no wrap, bracketed paste, mouse reports. */
const SANE = "\x1b[0m\x1b[?25h\x1b[?7h\x1b[?2004l\x1b[?1000l";

const SIGNALS = {
  SIGINT: EXIT_STATUS.interrupt,
  SIGTERM: EXIT_STATUS.terminated,
  SIGHUP: EXIT_STATUS.hangup,
} as const;

export interface ConsoleStreams {
  readonly stdin: ReadStream | NodeJS.ReadStream;
  readonly stdout: WriteStream | NodeJS.WriteStream;
}

/** True when a person sits at both ends. */
export function isInteractive({ stdin, stdout }: ConsoleStreams): boolean {
  return stdin.isTTY === true && stdout.isTTY === true;
}

/**
 * Connects the streams to the VM until it ends. Returns the exit status when it was ended from here (a signal, Ctrl-],
 * a closed pipe), or undefined when it ended by itself.
 */
export async function attachConsole(vm: Vm, streams: ConsoleStreams, input: boolean): Promise<number | undefined> {
  const { stdin, stdout } = streams;
  const raw = input && isInteractive(streams);
  let status: number | undefined;
  const end = (wanted: number) => {
    status ??= wanted;
    void vm.kill();
  };
  const handlers = Object.entries(SIGNALS).map(([name, code]) => [name, () => end(code)] as const);
  const restore = () => restoreTerminal(streams);
  const broken = () => end(EXIT_STATUS.brokenPipe);
  const typed = (chunk: Buffer) => {
    if (raw && chunk.includes(ESCAPE_KEY)) {
      end(EXIT_STATUS.ok);
      return;
    }
    stdin.pause();
    void vm.serial.write(chunk).then(() => stdin.resume());
  };

  for (const [name, handler] of handlers) process.on(name, handler);
  stdout.on("error", broken);
  if (raw) {
    stdin.setRawMode(true);
    process.on("exit", restore);
  }
  if (input) {
    stdin.on("error", () => {});
    stdin.on("data", typed);
  }
  try {
    for await (const chunk of vm.serial) {
      if (status === EXIT_STATUS.brokenPipe) break;
      if (!stdout.write(chunk)) await drained(stdout);
    }
    await vm.wait();
  } finally {
    if (raw) {
      process.off("exit", restore);
      restore();
    }
    stdin.off("data", typed);
    // An open standard input would keep this process alive.
    if (input) stdin.destroy();
    stdout.off("error", broken);
    for (const [name, handler] of handlers) process.off(name, handler);
  }
  return status;
}

function restoreTerminal({ stdin, stdout }: ConsoleStreams): void {
  stdin.setRawMode(false);
  stdout.write(SANE);
}

/** Resolves when the stream takes more, or never will. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ["drain", "error", "close"]) stream.off(event, done);
      resolve();
    };
    for (const event of ["drain", "error", "close"]) stream.on(event, done);
  });
}
