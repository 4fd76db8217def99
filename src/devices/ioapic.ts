/**
 * I/O APIC (Intel 82093AA datasheet, 290566) with 24 inputs and the EOI register of its successors (version 0x20):
 * index and data window, redirection table, edge and level triggering with remote IRR.
 *
 * Lines arrive as active levels, whatever the guest programs as polarity: the board's wiring knows no inversion. An
 * edge on a masked input is lost, as the datasheet says. Left out: the serial APIC bus (arbitration is a constant).
 */
import type { AccessSize, MmioHandler } from "../bus/access.js";
import type { IrqSink } from "../bus/irq-lines.js";
import type { MmioBus } from "../bus/mmio.js";
import type { ApicMessage } from "../native/engine.js";
import type { Device, DeviceState } from "./device.js";
import { SavedState } from "./saved-state.js";

/** Physical address of the I/O APIC. */
export const IOAPIC_BASE = 0xfec0_0000;
/** Number of inputs. */
export const IOAPIC_PINS = 24;

const REGION_BYTES = 0x1000;
/** Offsets in memory: index, data window, EOI. */
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const IOEOI = 0x40;
/** Indexed registers. */
const REG = { id: 0, version: 1, arbitration: 2, table: 0x10 } as const;
/** Version 0x20 (EOI register), highest entry 23. */
const VERSION = ((IOAPIC_PINS - 1) << 16) | 0x20;
const ID_BITS = 0x0f00_0000;

/** Low half of a redirection entry (3.2.4). */
const ENTRY = {
  vector: 0xff,
  deliveryModeShift: 8,
  logical: 1 << 11,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
} as const;
const ENTRY_WRITABLE = 0x1_afff;
const DELIVERY_LOWEST_PRIORITY = 1;
const STATE_VERSION = 1;

export class IoApic implements Device, MmioHandler, IrqSink {
  readonly name = "ioapic";
  readonly #deliver: (message: ApicMessage) => boolean;
  readonly #low = new Uint32Array(IOAPIC_PINS);
  readonly #high = new Uint32Array(IOAPIC_PINS);
  /** Bit n: input n is active. */
  #lines = 0;
  #index = 0;
  #id = 0;

  /** `deliver` sends a message to the Local APICs and returns whether one accepted it. */
  constructor(deliver: (message: ApicMessage) => boolean) {
    this.#deliver = deliver;
    this.reset();
  }

  /** Claims the registers at their physical address on `bus`. */
  attach(bus: MmioBus): void {
    bus.claim(IOAPIC_BASE, REGION_BYTES, this);
  }

  /** Everything masked; the levels of the inputs are the board's and stay. */
  reset(): void {
    this.#low.fill(ENTRY.masked);
    this.#high.fill(0);
    this.#index = 0;
    this.#id = 0;
  }

  /** Level of input `line` (0..23). */
  setLine(line: number, high: boolean): void {
    const bit = 1 << line;
    const rose = high && (this.#lines & bit) === 0;
    this.#lines = high ? this.#lines | bit : this.#lines & ~bit;
    if (rose) this.#service(line, true);
  }

  /** End of interrupt for a level-triggered `vector`: inputs still active interrupt again. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.#low[pin] ?? 0;
      if ((low & ENTRY.remoteIrr) === 0 || (low & ENTRY.vector) !== vector) continue;
      this.#low[pin] = low & ~ENTRY.remoteIrr;
      this.#service(pin, false);
    }
  }

  /** Registers are doublewords (3.0); a narrower read gets its part of one. */
  readMmio(offset: number, size: AccessSize): number {
    const register = this.#readRegister(offset & ~3);
    const value = register >>> (8 * (offset & 3));
    return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    if (offset === IOREGSEL) this.#index = value & 0xff;
    else if (offset === IOWIN && size === 4) this.#writeIndexed(value);
    else if (offset === IOEOI) this.endOfInterrupt(value & ENTRY.vector);
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      lines: this.#lines,
      index: this.#index,
      id: this.#id,
      low: Array.from(this.#low),
      high: Array.from(this.#high),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#lines = saved.integer("lines", 0, 2 ** IOAPIC_PINS - 1);
    this.#index = saved.integer("index", 0, 0xff);
    this.#id = saved.integer("id", 0, ID_BITS);
    this.#low.set(saved.numbers("low", IOAPIC_PINS));
    this.#high.set(saved.numbers("high", IOAPIC_PINS));
  }

  #readRegister(offset: number): number {
    if (offset === IOREGSEL) return this.#index;
    if (offset !== IOWIN) return 0;
    if (this.#index === REG.version) return VERSION;
    if (this.#index === REG.id || this.#index === REG.arbitration) return this.#id;
    const half = (this.#index & 1) === 0 ? this.#low : this.#high;
    return half[(this.#index - REG.table) >> 1] ?? 0;
  }

  #writeIndexed(value: number): void {
    if (this.#index === REG.id) {
      this.#id = value & ID_BITS;
      return;
    }
    const pin = (this.#index - REG.table) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    if ((this.#index & 1) !== 0) {
      this.#high[pin] = value & 0xff00_0000;
      return;
    }
    // Remote IRR has a meaning for level triggering alone: programming an entry as edge clears it.
    const remoteIrr = (value & ENTRY.level) === 0 ? 0 : (this.#low[pin] ?? 0) & ENTRY.remoteIrr;
    this.#low[pin] = (value & ENTRY_WRITABLE) | remoteIrr;
    this.#service(pin, false);
  }

  /** Sends input `pin`'s interrupt if it has one to send: a level that stands and is not in service, or a fresh edge. */
  #service(pin: number, edge: boolean): void {
    const low = this.#low[pin] ?? 0;
    if ((low & ENTRY.masked) !== 0 || (this.#lines & (1 << pin)) === 0) return;
    const deliveryMode = (low >> ENTRY.deliveryModeShift) & 7;
    // SMI, NMI, INIT and ExtINT are edges even where the entry says level (3.2.4).
    const levelTriggered = (low & ENTRY.level) !== 0 && deliveryMode <= DELIVERY_LOWEST_PRIORITY;
    if (levelTriggered ? (low & ENTRY.remoteIrr) !== 0 : !edge) return;
    const accepted = this.#deliver({
      destination: (this.#high[pin] ?? 0) >>> 24,
      logical: (low & ENTRY.logical) !== 0,
      deliveryMode,
      vector: low & ENTRY.vector,
      levelTriggered,
    });
    if (levelTriggered && accepted) this.#low[pin] = low | ENTRY.remoteIrr;
  }
}
