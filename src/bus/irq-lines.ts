/**
 * The board's interrupt wiring: 24 global system interrupts, each the wired OR of any number of pins, and the inputs
 * of the interrupt controllers they end at.
 * ISA interrupts 0..15 reach the 8259 pair and the IOAPIC under the same number, with two exceptions that every PC has:
 * IRQ 0 is wired to IOAPIC pin 2 (the MADT says so in an interrupt source override, ACPI 6.5, 5.2.12.5), and IRQ 2 is
 * the cascade between the 8259s, no line at all. GSIs 16..23 reach the IOAPIC alone.
 */
import type { IrqPin } from "../devices/device.js";
import { invariant } from "../errors.js";

/** Number of global system interrupts. */
export const GSI_COUNT = 24;
const ISA_IRQS = 16;
const PIT_IRQ = 0;
const CASCADE_IRQ = 2;

/** An interrupt controller's inputs. Called on changes of level only. */
export interface IrqSink {
  setLine(line: number, high: boolean): void;
}

export class IrqLines {
  /** How many pins hold each line high. */
  readonly #holders = new Uint16Array(GSI_COUNT);
  readonly #pic: IrqSink;
  readonly #ioapic: IrqSink;

  constructor(pic: IrqSink, ioapic: IrqSink) {
    this.#pic = pic;
    this.#ioapic = ioapic;
  }

  /** A new pin on line `gsi` (0..23, not 2), low at first. */
  pin(gsi: number): IrqPin {
    invariant(Number.isInteger(gsi) && gsi >= 0 && gsi < GSI_COUNT, `there is no interrupt line ${gsi}`);
    invariant(gsi !== CASCADE_IRQ, "IRQ 2 is the cascade of the 8259s");
    let level = false;
    return {
      set: (high) => {
        if (high === level) return;
        level = high;
        this.#hold(gsi, high);
      },
    };
  }

  /** Level of line `gsi` now. */
  isHigh(gsi: number): boolean {
    return (this.#holders[gsi] ?? 0) > 0;
  }

  #hold(gsi: number, high: boolean): void {
    const before = this.#holders[gsi] ?? 0;
    const after = high ? before + 1 : before - 1;
    this.#holders[gsi] = after;
    if (before > 0 && after > 0) return;
    if (gsi < ISA_IRQS) this.#pic.setLine(gsi, high);
    this.#ioapic.setLine(gsi === PIT_IRQ ? CASCADE_IRQ : gsi, high);
  }
}
