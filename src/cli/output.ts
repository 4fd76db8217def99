/**
 * Everything the command line prints, but for the guest's own bytes: results on standard output, all else on standard
 * error, as text or as JSON.
 */
import type { VmError } from "../errors.js";
import { EXIT_STATUS } from "./exit-codes.js";

/** Where text goes; the process's streams, or a test's. */
export interface TextStream {
  write(text: string): unknown;
  /** Told when what was written could not be delivered. */
  on?(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

export class Output {
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;
  #brokenStatus: number | undefined;

  constructor(stdout: TextStream, stderr: TextStream) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    stdout.on?.("error", (error) => this.#broke(error));
    // There is nobody left to tell.
    stderr.on?.("error", () => {});
  }

  /** The exit status that a standard output which takes no more leads to; undefined while it takes all. */
  get brokenStatus(): number | undefined {
    return this.#brokenStatus;
  }

  /** A result, on standard output. */
  line(text: string): void {
    this.#stdout.write(`${text}\n`);
  }

  /** A result as one line of JSON, on standard output. */
  json(value: unknown): void {
    this.line(JSON.stringify(value));
  }

  /** Help and scripts, as they are. */
  raw(text: string): void {
    this.#stdout.write(text);
  }

  /** News for the person watching, on standard error. */
  note(text: string): void {
    this.#stderr.write(`${text}\n`);
  }

  /** A JSON line for commands whose standard output is the guest's. */
  noteJson(value: unknown): void {
    this.note(JSON.stringify(value));
  }

  /** An error with its code and what to do about it. */
  error(error: VmError, json: boolean): void {
    if (json) {
      this.noteJson({ error: errorAsJson(error) });
      return;
    }
    this.note(`error: ${error.message} (${error.code})`);
    if (error.hint !== undefined) this.note(`hint: ${error.hint}`);
  }

  /** A reader that has gone away (`| head`) wants no message; a full disk does. */
  #broke(error: NodeJS.ErrnoException): void {
    if (this.#brokenStatus !== undefined) return;
    this.#brokenStatus = error.code === "EPIPE" ? EXIT_STATUS.brokenPipe : EXIT_STATUS.failure;
    if (error.code !== "EPIPE") this.note(`error: standard output cannot be written: ${error.message}`);
    // The command may have ended before the news came.
    process.exitCode = this.#brokenStatus;
  }

  /** Rows in aligned columns, the first row being the heading. */
  table(rows: readonly (readonly string[])[]): void {
    const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
    for (const row of rows)
      this.line(
        row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      );
  }
}

/** An error as every JSON report has it. */
export function errorAsJson({ code, message, hint }: VmError): {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
} {
  return { code, message, hint };
}
