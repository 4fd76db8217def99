/**
 * Guest nanoseconds to and from the ticks of a crystal of whole hertz, exact for all times a clock can hold: seconds
 * are split off first, so that every product stays below 2^53 (rates up to 9 MHz).
 */
const NS_PER_SECOND = 1e9;

export class TickRate {
  readonly #hz: number;

  constructor(hz: number) {
    this.#hz = hz;
  }

  /** Ticks completed at guest time `ns`. */
  ticksAt(ns: number): number {
    const seconds = Math.floor(ns / NS_PER_SECOND);
    const rest = Math.floor(ns - seconds * NS_PER_SECOND);
    return seconds * this.#hz + Math.floor((rest * this.#hz) / NS_PER_SECOND);
  }

  /** The first guest time in whole nanoseconds at which `ticks` ticks are completed. */
  nsAt(ticks: number): number {
    const seconds = Math.floor(ticks / this.#hz);
    const rest = ticks - seconds * this.#hz;
    return seconds * NS_PER_SECOND + Math.ceil((rest * NS_PER_SECOND) / this.#hz);
  }
}
