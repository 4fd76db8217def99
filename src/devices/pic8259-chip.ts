/**
 * One 8259A interrupt controller (Intel 8259A datasheet, 231468): ICW1..4, OCW1..3, every form of EOI and rotation,
 * special mask, special fully nested and automatic EOI modes, and poll.
 * Edge or level is chosen input by input from outside; ICW1.LTIM and ICW3 are disregarded. Left out: MCS-80 mode and
 * buffered mode, which no PC can use.
 */
import type { SavedState } from "./saved-state.js";

const ICW1 = { icw4Needed: 0x01, single: 0x02, select: 0x10 } as const;
const ICW4 = { autoEoi: 0x02, specialFullyNested: 0x10 } as const;
const OCW3 = { select: 0x08, readIsr: 0x01, readEnable: 0x02, poll: 0x04, specialMask: 0x20, maskEnable: 0x40 };
/** OCW2 bits 7..5: R, SL, EOI. */
const OCW2 = {
  rotateInAutoEoiClear: 0,
  nonSpecificEoi: 1,
  specificEoi: 3,
  rotateInAutoEoiSet: 4,
  rotateOnNonSpecificEoi: 5,
  setPriority: 6,
  rotateOnSpecificEoi: 7,
} as const;
const POLL_INTERRUPT = 0x80;
/** What the next write to the data port means. */
type Awaiting = "ocw1" | "icw2" | "icw3" | "icw4";
const AWAITING: readonly Awaiting[] = ["ocw1", "icw2", "icw3", "icw4"];

export class Pic8259Chip {
  /** Bits of 8 inputs: those that are level triggered. */
  levelInputs = 0;
  vectorBase = 0;
  #inputs = 0;
  /** Edges seen and not yet acknowledged; an input that drops takes its request back. */
  #edges = 0;
  #inService = 0;
  #masked = 0;
  #lowestPriority = 7;
  #initialised = false;
  #awaiting: Awaiting = "ocw1";
  #single = false;
  #icw4Needed = false;
  #autoEoi = false;
  #rotateInAutoEoi = false;
  #specialFullyNested = false;
  #specialMask = false;
  #readInService = false;
  #poll = false;
  readonly #cascaded: number;

  /** `cascaded` has a bit for each input that a slave is wired to. */
  constructor(cascaded: number) {
    this.#cascaded = cascaded;
  }

  /** Power-on: silent until initialised. Input levels are the board's and stay. */
  reset(): void {
    this.levelInputs = 0;
    this.vectorBase = 0;
    this.#initialised = false;
    this.#awaiting = "ocw1";
    this.#autoEoi = false;
    this.#specialFullyNested = false;
    this.#single = false;
    this.#icw4Needed = false;
    this.#clear();
  }

  setInput(input: number, high: boolean): void {
    const bit = 1 << input;
    if (high && (this.#inputs & bit) === 0) this.#edges |= bit;
    if (high) this.#inputs |= bit;
    else {
      this.#inputs &= ~bit;
      this.#edges &= ~bit;
    }
  }

  /** The input whose request is more urgent than anything in service, or undefined. */
  pending(): number | undefined {
    if (!this.#initialised) return undefined;
    const requests = this.#requests() & ~this.#masked;
    if (requests === 0) return undefined;
    let blocking = this.#inService;
    if (this.#specialMask) blocking &= ~this.#masked;
    // Special fully nested: the slave in service does not lock out its own more urgent requests.
    if (this.#specialFullyNested) blocking &= ~this.#cascaded;
    const input = this.#mostUrgent(requests);
    if (blocking === 0) return input;
    return this.#rank(input) < this.#rank(this.#mostUrgent(blocking)) ? input : undefined;
  }

  /** Takes the pending request into service and returns its input, or undefined when there is none any more. */
  acknowledge(): number | undefined {
    const input = this.pending();
    if (input === undefined) return undefined;
    this.#edges &= ~(1 << input);
    if (!this.#autoEoi) this.#inService |= 1 << input;
    else if (this.#rotateInAutoEoi) this.#lowestPriority = input;
    return input;
  }

  read(dataPort: boolean): number {
    if (this.#poll) {
      this.#poll = false;
      const input = this.acknowledge();
      return input === undefined ? 0 : POLL_INTERRUPT | input;
    }
    if (dataPort) return this.#masked;
    return this.#readInService ? this.#inService : this.#requests();
  }

  writeCommand(value: number): void {
    if ((value & ICW1.select) !== 0) this.#initialise(value);
    else if ((value & OCW3.select) !== 0) this.#writeOcw3(value);
    else this.#writeOcw2(value >> 5, value & 7);
  }

  writeData(value: number): void {
    switch (this.#awaiting) {
      case "ocw1":
        this.#masked = value;
        return;
      case "icw2":
        this.vectorBase = value & 0xf8;
        this.#awaiting = this.#single ? (this.#icw4Needed ? "icw4" : "ocw1") : "icw3";
        break;
      case "icw3":
        this.#awaiting = this.#icw4Needed ? "icw4" : "ocw1";
        break;
      case "icw4":
        this.#autoEoi = (value & ICW4.autoEoi) !== 0;
        this.#specialFullyNested = (value & ICW4.specialFullyNested) !== 0;
        this.#awaiting = "ocw1";
        break;
    }
    this.#initialised = this.#awaiting === "ocw1";
  }

  save(): { [key: string]: number | boolean } {
    return {
      levelInputs: this.levelInputs,
      vectorBase: this.vectorBase,
      inputs: this.#inputs,
      edges: this.#edges,
      inService: this.#inService,
      masked: this.#masked,
      lowestPriority: this.#lowestPriority,
      initialised: this.#initialised,
      awaiting: AWAITING.indexOf(this.#awaiting),
      single: this.#single,
      icw4Needed: this.#icw4Needed,
      autoEoi: this.#autoEoi,
      rotateInAutoEoi: this.#rotateInAutoEoi,
      specialFullyNested: this.#specialFullyNested,
      specialMask: this.#specialMask,
      readInService: this.#readInService,
      poll: this.#poll,
    };
  }

  load(saved: SavedState): void {
    this.levelInputs = saved.integer("levelInputs", 0, 0xff);
    this.vectorBase = saved.integer("vectorBase", 0, 0xff);
    this.#inputs = saved.integer("inputs", 0, 0xff);
    this.#edges = saved.integer("edges", 0, 0xff);
    this.#inService = saved.integer("inService", 0, 0xff);
    this.#masked = saved.integer("masked", 0, 0xff);
    this.#lowestPriority = saved.integer("lowestPriority", 0, 7);
    this.#initialised = saved.boolean("initialised");
    this.#awaiting = AWAITING[saved.integer("awaiting", 0, AWAITING.length - 1)] ?? "ocw1";
    this.#single = saved.boolean("single");
    this.#icw4Needed = saved.boolean("icw4Needed");
    this.#autoEoi = saved.boolean("autoEoi");
    this.#rotateInAutoEoi = saved.boolean("rotateInAutoEoi");
    this.#specialFullyNested = saved.boolean("specialFullyNested");
    this.#specialMask = saved.boolean("specialMask");
    this.#readInService = saved.boolean("readInService");
    this.#poll = saved.boolean("poll");
  }

  /** The request register as it reads: latched edges, and level inputs as they stand. */
  #requests(): number {
    return (this.#edges & ~this.levelInputs) | (this.#inputs & this.levelInputs);
  }

  /** What ICW1 clears: edge sense, mask, service, priorities, special mask; status reads give the requests. */
  #clear(): void {
    this.#edges = 0;
    this.#inService = 0;
    this.#masked = 0;
    this.#lowestPriority = 7;
    this.#rotateInAutoEoi = false;
    this.#specialMask = false;
    this.#readInService = false;
    this.#poll = false;
  }

  #initialise(icw1: number): void {
    this.#clear();
    this.#initialised = false;
    this.#single = (icw1 & ICW1.single) !== 0;
    this.#icw4Needed = (icw1 & ICW1.icw4Needed) !== 0;
    this.#autoEoi = false;
    this.#specialFullyNested = false;
    this.#awaiting = "icw2";
  }

  #writeOcw2(command: number, input: number): void {
    switch (command) {
      case OCW2.nonSpecificEoi:
        this.#endMostUrgent(false);
        break;
      case OCW2.rotateOnNonSpecificEoi:
        this.#endMostUrgent(true);
        break;
      case OCW2.specificEoi:
        this.#inService &= ~(1 << input);
        break;
      case OCW2.rotateOnSpecificEoi:
        this.#inService &= ~(1 << input);
        this.#lowestPriority = input;
        break;
      case OCW2.setPriority:
        this.#lowestPriority = input;
        break;
      case OCW2.rotateInAutoEoiSet:
      case OCW2.rotateInAutoEoiClear:
        this.#rotateInAutoEoi = command === OCW2.rotateInAutoEoiSet;
        break;
      default:
        // 010 is no operation.
        break;
    }
  }

  #writeOcw3(value: number): void {
    if ((value & OCW3.maskEnable) !== 0) this.#specialMask = (value & OCW3.specialMask) !== 0;
    if ((value & OCW3.readEnable) !== 0) this.#readInService = (value & OCW3.readIsr) !== 0;
    this.#poll = (value & OCW3.poll) !== 0;
  }

  /** Non-specific EOI; under special mask, service of a masked input is left alone. */
  #endMostUrgent(rotate: boolean): void {
    const ending = this.#specialMask ? this.#inService & ~this.#masked : this.#inService;
    if (ending === 0) return;
    const input = this.#mostUrgent(ending);
    this.#inService &= ~(1 << input);
    if (rotate) this.#lowestPriority = input;
  }

  /** Priority of an input now: 0 is the most urgent. */
  #rank(input: number): number {
    return (input - this.#lowestPriority - 1) & 7;
  }

  /** The most urgent of the inputs in `bits`, which is not empty. */
  #mostUrgent(bits: number): number {
    const first = (this.#lowestPriority + 1) & 7;
    const rotated = ((bits >> first) | (bits << (8 - first))) & 0xff;
    return (31 - Math.clz32(rotated & -rotated) + first) & 7;
  }
}
