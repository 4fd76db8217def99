/**
 * The user's terminal, or pipes, as the guest's serial console.
 *
 * A terminal is put into raw mode, so that every key reaches the guest, Ctrl-C included; Ctrl-] is ours and ends the VM.
 * Whatever happens, it is put back. In pipes bytes pass both ways unchanged; the end of input does not end the VM.
 */
import type { Vm } from "../control/vm.js";
import { EXIT_STATUS } from "./exit-codes.js";
import type { Interruption } from "./interruption.js";

/** Ctrl-]. */
const ESCAPE_KEY = 0x1d;
/** Undoes what guests leave behind: colours, hidden cursor, no wrap, bracketed paste, mouse reports. */
const SANE = "\x1b[0m\x1b[?25h\x1b[?7h\x1b[?2004l\x1b[?1000l";

export interface ConsoleStreams {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
}

/** True when a person sits at both ends. */
export function isInteractive({ stdin, stdout }: ConsoleStreams): boolean {
  return stdin.isTTY === true && stdout.isTTY === true;
}

/** Connects the streams to the VM until it has ended. Ctrl-] and a closed output end it through `interruption`. */
export async function attachConsole(vm: Vm, streams: ConsoleStreams, interruption: Interruption): Promise<void> {
  const { stdin, stdout } = streams;
  const raw = isInteractive(streams);
  const restore = () => restoreTerminal(streams);
  const broken = () => interruption.end(EXIT_STATUS.brokenPipe);
  const typed = (chunk: Buffer) => {
    if (raw && chunk.includes(ESCAPE_KEY)) {
      interruption.end(EXIT_STATUS.ok);
      return;
    }
    stdin.pause();
    void vm.serial.write(chunk).then(() => stdin.resume());
  };

  stdout.on("error", broken);
  if (raw) {
    stdin.setRawMode(true);
    process.on("exit", restore);
  }
  stdin.on("error", () => {});
  stdin.on("data", typed);
  try {
    for await (const chunk of vm.serial) {
      if (!stdout.writable) break;
      if (!stdout.write(chunk)) await drained(stdout, interruption.signal);
    }
    await vm.wait();
  } finally {
    if (raw) {
      process.off("exit", restore);
      restore();
    }
    stdin.off("data", typed);
    // An open standard input would keep this process alive.
    stdin.destroy();
    stdout.off("error", broken);
  }
}

function restoreTerminal({ stdin, stdout }: ConsoleStreams): void {
  stdin.setRawMode(false);
  stdout.write(SANE);
}

/** Resolves when the stream takes more, never will, or nobody waits for it any longer. */
function drained(stream: NodeJS.WriteStream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ["drain", "error", "close"]) stream.off(event, done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    for (const event of ["drain", "error", "close"]) stream.on(event, done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
