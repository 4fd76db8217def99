/**
 * Signals that ask the program to end, as an `AbortSignal` for whatever it is doing and the exit status that follows.
 * The first one ends things in order; a second one ends the program at once, by way of its exit handlers.
 */
import { VmError } from "../errors.js";
import { EXIT_STATUS } from "./exit-codes.js";

const SIGNALS = {
  SIGINT: EXIT_STATUS.interrupt,
  SIGTERM: EXIT_STATUS.terminated,
  SIGHUP: EXIT_STATUS.hangup,
} as const;

/** Listens while it is in scope: `using interruption = new Interruption()`. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #handlers: readonly (readonly [string, () => void])[];
  #status: number | undefined;

  constructor() {
    this.#handlers = Object.entries(SIGNALS).map(([name, status]) => [name, () => this.#signalled(status)] as const);
    for (const [name, handler] of this.#handlers) process.on(name, handler);
  }

  /** Aborted when the program is asked to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit status of the first reason to end; undefined while there is none. */
  get status(): number | undefined {
    return this.#status;
  }

  /** Ends what is going on, with this exit status. */
  end(status: number): void {
    this.#status ??= status;
    this.#controller.abort(new VmError("VM_WRONG_STATE", "interrupted"));
  }

  /** By default a signal would leave a terminal as raw as it is. */
  #signalled(status: number): void {
    if (this.#status !== undefined) process.exit(status);
    this.end(status);
  }

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) process.off(name, handler);
  }
}
