/**
 * What the program hands to each of its commands.
 */
import type { Output } from "./output.js";

/** What a command gets besides its options. */
export interface CommandContext {
  readonly output: Output;
  /** Sets the exit status of the program; 0 unless set. */
  finish(status: number): void;
}
