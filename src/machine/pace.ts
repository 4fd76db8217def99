/**
 * The host side of time: its monotonic clock, its event loop, and sleeping. The run loop's only way to wait, and what
 * tests replace to run in virtual time.
 */

export interface Pace {
  /** Monotonic host time in nanoseconds from an arbitrary origin. */
  nowNs(): number;
  /** Lets the event loop deliver what is ready, without sleeping. */
  turn(): Promise<void>;
  /**
   * Sleeps until `wake` is called or somewhat before `ns` have passed, whichever is earlier; callers look at the
   * clock again. Infinity sleeps until woken.
   */
  sleep(ns: number): Promise<void>;
  /** Ends the running sleep; without one, does nothing. */
  wake(): void;
}

const MS = 1_000_000;
/** Longest delay a Node timer takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** Below Node's timer grain the thread itself sleeps, in pieces short enough that host I/O hardly notices. */
const THREAD_SLEEP_NS = 250_000;

export class HostPace implements Pace {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4));
  #wake: (() => void) | undefined;

  nowNs(): number {
    return performance.now() * MS;
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  async sleep(ns: number): Promise<void> {
    if (ns >= MS) {
      await this.#timeout(Math.min(Math.floor(ns / MS), MAX_TIMEOUT_MS));
      return;
    }
    let woken = false;
    this.#wake = () => {
      woken = true;
    };
    await this.turn();
    this.#wake = undefined;
    if (!woken) Atomics.wait(this.#cell, 0, 0, Math.min(ns, THREAD_SLEEP_NS) / MS);
  }

  wake(): void {
    this.#wake?.();
  }

  #timeout(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timeout);
        this.#wake = undefined;
        resolve();
      };
      const timeout = setTimeout(done, milliseconds);
      this.#wake = done;
    });
  }
}
