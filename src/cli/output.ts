/**
 * Everything the command line prints, but for the guest's own bytes: results on standard output, all else on standard
 * error, as text or as JSON.
 */
import type { VmError } from "../errors.js";

/** Where text goes; the process's streams, or a test's. */
export interface TextStream {
  write(text: string): unknown;
}

export class Output {
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;

  constructor(stdout: TextStream = process.stdout, stderr: TextStream = process.stderr) {
    this.#stdout = stdout;
    this.#stderr = stderr;
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
      this.noteJson({ error: { code: error.code, message: error.message, hint: error.hint } });
      return;
    }
    this.note(`error: ${error.message} (${error.code})`);
    if (error.hint !== undefined) this.note(`hint: ${error.hint}`);
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
