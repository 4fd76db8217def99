/**
 * 8254 programmable interval timer (Intel 8254 datasheet, 231164) as the PC wires it: clock 1.193182 MHz, counter 0 on
 * IRQ 0 with its gate tied high, counter 1 once the DRAM refresh, counter 2 on the speaker with its gate at port 0x61.
 * Control word, counter latch and read-back commands; each counter's modes are in pit8254-counter.ts.
 *
 * IRQ 0 follows OUT when counter 0 is programmed and at each rise after that; a fall in between (modes 2 to 5) is drawn
 * together with the rise that ends it: the same edges for half the timer events.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState, GuestTimer, IrqPin } from "./device.js";
import { PitCounter } from "./pit8254-counter.js";
import { SavedState } from "./saved-state.js";
import { TickRate } from "./tick-rate.js";

/** Frequency of the counters' clock. */
export const PIT_HZ = 1_193_182;

const FIRST_PORT = 0x40;
const CONTROL = 3;
const TIMER_IRQ = 0;
const SELECT_READ_BACK = 3;
const READ_BACK = { keepCount: 0x20, keepStatus: 0x10 } as const;
const STATE_VERSION = 1;

export class Pit8254 extends BytePorts implements Device {
  readonly name = "pit8254";
  readonly #clock: DeviceContext["clock"];
  readonly #irq: IrqPin;
  readonly #rise: GuestTimer;
  readonly #rate = new TickRate(PIT_HZ);
  #counters = powerOnCounters();

  constructor(context: DeviceContext) {
    super();
    this.#clock = context.clock;
    this.#irq = context.irq(TIMER_IRQ);
    this.#rise = context.clock.timer("pit8254.rise", () => this.#onRise());
  }

  /** Claims the timer's ports on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(FIRST_PORT, 4, this);
  }

  reset(): void {
    this.#counters = powerOnCounters();
    this.#follow();
  }

  /** Gate of counter 2 (port 0x61 bit 0). */
  setSpeakerGate(high: boolean): void {
    this.#counters[2].setGate(this.#now(), high);
  }

  /** OUT of counter 2 (port 0x61 bit 5). */
  speakerOutput(): boolean {
    return this.#counters[2].output(this.#now());
  }

  save(): DeviceState {
    return { version: STATE_VERSION, counters: this.#counters.map((counter) => counter.save()) };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION).parts("counters", this.#counters.length);
    for (const [index, part] of saved.entries()) this.#counters[index]?.load(part);
    this.#follow();
  }

  protected readByte(port: number): number {
    // The control word cannot be read: the data pins float.
    return this.#counters[port - FIRST_PORT]?.read(this.#now()) ?? 0xff;
  }

  protected writeByte(port: number, value: number): void {
    const index = port - FIRST_PORT;
    if (index === CONTROL) this.#writeControl(value);
    else this.#counters[index]?.write(this.#now(), value);
    if (index === 0) this.#follow();
  }

  #writeControl(value: number): void {
    const select = value >> 6;
    const now = this.#now();
    if (select === SELECT_READ_BACK) {
      for (const [index, counter] of this.#counters.entries()) {
        if ((value & (2 << index)) === 0) continue;
        if ((value & READ_BACK.keepCount) === 0) counter.latchCount(now);
        if ((value & READ_BACK.keepStatus) === 0) counter.latchStatus(now);
      }
      return;
    }
    const counter = this.#counters[select];
    if ((value & 0x30) === 0) {
      counter?.latchCount(now);
      return;
    }
    counter?.writeControl(value);
    if (select === 0) this.#follow();
  }

  #now(): number {
    return this.#rate.ticksAt(this.#clock.nowNs());
  }

  /** The rise may be served late, when OUT has long fallen again; the edge counts. */
  #onRise(): void {
    this.#irq.set(false);
    this.#irq.set(true);
    this.#awaitRise();
  }

  /** Sets IRQ 0 to counter 0's OUT and waits for its next rise. */
  #follow(): void {
    this.#irq.set(this.#counters[0].output(this.#now()));
    this.#awaitRise();
  }

  #awaitRise(): void {
    const next = this.#counters[0].nextRise(this.#now());
    if (next === undefined) this.#rise.cancel();
    else this.#rise.arm(this.#rate.nsAt(next));
  }
}

/** Undefined at power-on by the datasheet: mode 0, nothing counted. Only counter 2 has a gate that is not tied high. */
function powerOnCounters(): [PitCounter, PitCounter, PitCounter] {
  return [new PitCounter(true), new PitCounter(true), new PitCounter(false)];
}
