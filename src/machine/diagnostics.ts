/**
 * What the machine has to say about its devices: guest misuse (warnings) and our own bugs (faults). Limited in rate,
 * because a guest can cause them at will; never thrown.
 */

export interface Diagnostic {
  /** "fault" is a bug of a device of ours, contained; "warning" is the guest's misuse or a back end's trouble. */
  readonly level: "warning" | "fault";
  readonly device: string;
  readonly message: string;
  /** Instruction number at which it happened. */
  readonly instructions: number;
  /** How many of this device and level there have been, this one included. */
  readonly count: number;
}

/** After this many, only every power of two is passed on. */
const VERBATIM = 16;

export class Diagnostics {
  readonly #counts = new Map<string, number>();
  readonly #position: () => number;
  readonly #onDiagnostic: (diagnostic: Diagnostic) => void;

  constructor(position: () => number, onDiagnostic: (diagnostic: Diagnostic) => void) {
    this.#position = position;
    this.#onDiagnostic = onDiagnostic;
  }

  warn(device: string, message: string): void {
    this.#report("warning", device, message);
  }

  fault(device: string, error: unknown): void {
    this.#report("fault", device, error instanceof Error ? (error.stack ?? error.message) : String(error));
  }

  #report(level: Diagnostic["level"], device: string, message: string): void {
    const key = `${level} ${device}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    const powerOfTwo = Number.isInteger(Math.log2(count));
    if (count <= VERBATIM || powerOfTwo) {
      this.#onDiagnostic({ level, device, message, instructions: this.#position(), count });
    }
  }
}
