/**
 * The PC's cascaded pair of 8259A interrupt controllers (each a pic8259-chip.ts), with the edge/level control registers
 * of the south bridge (ICH9 datasheet, 13.4), which decide instead of ICW1.LTIM.
 *
 * The slave is wired to input 2 of the master, whatever ICW3 says. A request that has gone before it is acknowledged
 * gives interrupt 7; a spurious 15 needs one that vanishes between the two INTA cycles, which here are one moment.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { IrqSink } from "../bus/irq-lines.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceState } from "./device.js";
import { Pic8259Chip } from "./pic8259-chip.js";
import { SavedState } from "./saved-state.js";

const MASTER_PORT = 0x20;
const SLAVE_PORT = 0xa0;
const ELCR_PORT = 0x4d0;
const CASCADE_INPUT = 2;
/** Inputs that stay edge triggered: timer, keyboard, cascade; RTC and FERR# on the slave (ICH9, 13.4.10 and 13.4.11). */
const MASTER_ELCR_WRITABLE = 0xf8;
const SLAVE_ELCR_WRITABLE = 0xde;

/** Vector offset of a request that has gone before it was acknowledged. */
const SPURIOUS_INPUT = 7;
const STATE_VERSION = 1;

export class Pic8259 extends BytePorts implements Device, IrqSink {
  readonly name = "pic8259";
  readonly #master = new Pic8259Chip(1 << CASCADE_INPUT);
  readonly #slave = new Pic8259Chip(0);
  readonly #output: (high: boolean) => void;
  #intr = false;

  /** `output` is told each change of the INTR line to the processor. */
  constructor(output: (high: boolean) => void) {
    super();
    this.#output = output;
    this.reset();
  }

  /** Claims the pair's ports on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(MASTER_PORT, 2, this);
    bus.claim(SLAVE_PORT, 2, this);
    bus.claim(ELCR_PORT, 2, this);
  }

  reset(): void {
    this.#master.reset();
    this.#slave.reset();
    // The slave's INT stays up while it has more to say, which an edge-triggered input would miss.
    this.#master.levelInputs = 1 << CASCADE_INPUT;
    this.#update();
  }

  /** Level of ISA interrupt `line` (0..15, but 2). */
  setLine(line: number, high: boolean): void {
    (line < 8 ? this.#master : this.#slave).setInput(line & 7, high);
    this.#update();
  }

  /** The two INTA cycles: accepts the most urgent request and returns its vector; a spurious one if none is left. */
  acknowledge(): number {
    const input = this.#master.acknowledge();
    let vector = this.#master.vectorBase | (input ?? SPURIOUS_INPUT);
    if (input === CASCADE_INPUT) {
      vector = this.#slave.vectorBase | (this.#slave.acknowledge() ?? SPURIOUS_INPUT);
    }
    this.#update();
    return vector;
  }

  /** True while INTR is asserted. */
  get intr(): boolean {
    return this.#intr;
  }

  save(): DeviceState {
    return { version: STATE_VERSION, master: this.#master.save(), slave: this.#slave.save() };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#master.load(saved.part("master"));
    this.#slave.load(saved.part("slave"));
    this.#update();
  }

  protected readByte(port: number): number {
    if (port === ELCR_PORT) return this.#master.levelInputs & MASTER_ELCR_WRITABLE;
    if (port === ELCR_PORT + 1) return this.#slave.levelInputs;
    const chip = (port & 0x80) === 0 ? this.#master : this.#slave;
    const value = chip.read((port & 1) !== 0);
    this.#update();
    return value;
  }

  protected writeByte(port: number, value: number): void {
    if (port === ELCR_PORT) {
      this.#master.levelInputs = (value & MASTER_ELCR_WRITABLE) | (1 << CASCADE_INPUT);
    } else if (port === ELCR_PORT + 1) {
      this.#slave.levelInputs = value & SLAVE_ELCR_WRITABLE;
    } else {
      const chip = (port & 0x80) === 0 ? this.#master : this.#slave;
      if ((port & 1) !== 0) chip.writeData(value);
      else chip.writeCommand(value);
    }
    this.#update();
  }

  #update(): void {
    this.#master.setInput(CASCADE_INPUT, this.#slave.pending() !== undefined);
    const intr = this.#master.pending() !== undefined;
    if (intr === this.#intr) return;
    this.#intr = intr;
    this.#output(intr);
  }
}
