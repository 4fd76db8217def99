/**
 * Host time that moves only when told, and an event loop that is the microtask queue.
 */
import type { Pace } from "../../src/machine/pace.js";

export class FakePace implements Pace {
  /** Host time in nanoseconds. */
  time = 1_000_000_000;
  readonly sleeps: number[] = [];
  turns = 0;
  wakes = 0;
  /** Called in each turn of the event loop and at the start of each sleep. */
  onTurn: () => void = () => {};
  #wake: (() => void) | undefined;

  nowNs(): number {
    return this.time;
  }

  async turn(): Promise<void> {
    this.turns += 1;
    this.onTurn();
    await Promise.resolve();
  }

  /** A finite sleep passes at once; an endless one lasts until `wake`. */
  sleep(ns: number): Promise<void> {
    this.sleeps.push(ns);
    if (ns !== Number.POSITIVE_INFINITY) {
      this.time += ns;
      this.onTurn();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.onTurn();
    });
  }

  wake(): void {
    this.wakes += 1;
    this.#wake?.();
  }
}
