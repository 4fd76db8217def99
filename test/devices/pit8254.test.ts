import { beforeEach, describe, expect, it } from "vitest";
import { Pit8254 } from "../../src/devices/pit8254.js";
import { PitCounter } from "../../src/devices/pit8254-counter.js";
import { SavedState } from "../../src/devices/saved-state.js";
import { TickRate } from "../../src/devices/tick-rate.js";
import { randomPortTraffic, resume, TestRandom } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

/** OUT over ticks from..to-1 as a string of H and L. */
function trace(counter: PitCounter, from: number, to: number): string {
  let levels = "";
  for (let tick = from; tick < to; tick++) levels += counter.output(tick) ? "H" : "L";
  return levels;
}

/** A counter with LSB access in `mode`, programmed at tick 0; its gate is high. */
function makeCounter(mode: number, count: number): PitCounter {
  const counter = new PitCounter(true);
  counter.writeControl(0x10 | (mode << 1));
  counter.write(0, count);
  return counter;
}

describe("PitCounter modes", () => {
  it("0: rises N + 1 clocks after the write and stays", () => {
    expect(trace(makeCounter(0, 4), 0, 10)).toBe("LLLLLHHHHH");
  });

  it("0: the gate suspends the counting", () => {
    const counter = makeCounter(0, 4);
    counter.setGate(3, false);
    expect(trace(counter, 3, 20)).toBe("L".repeat(17));
    counter.setGate(20, true);
    expect(trace(counter, 20, 24)).toBe("LLHH");
  });

  it("0: counts on through zero", () => {
    const counter = makeCounter(0, 2);
    expect([1, 2, 3, 4].map((tick) => counter.read(tick))).toEqual([2, 1, 0, 0xff]);
  });

  it("1: falls on the trigger for N clocks and can be triggered again", () => {
    const counter = new PitCounter(false);
    counter.writeControl(0x12);
    counter.write(0, 3);
    expect(trace(counter, 0, 5)).toBe("HHHHH");
    counter.setGate(5, true);
    expect(trace(counter, 5, 11)).toBe("HLLLHH");
    counter.setGate(11, false);
    counter.setGate(12, true);
    counter.setGate(13, false);
    counter.setGate(14, true);
    expect(trace(counter, 14, 20)).toBe("LLLLHH");
  });

  it("2: is low for the last clock of each period", () => {
    expect(trace(makeCounter(2, 3), 0, 12)).toBe("HHHLHHLHHLHH");
  });

  it("2: takes a new count at the end of the period", () => {
    const counter = makeCounter(2, 4);
    counter.write(2, 2);
    expect(trace(counter, 2, 12)).toBe("HHLHLHLHLH");
  });

  it("2: the gate holds OUT high and restarts the period", () => {
    const counter = makeCounter(2, 4);
    counter.setGate(4, false);
    expect(trace(counter, 4, 8)).toBe("HHHH");
    counter.setGate(8, true);
    expect(trace(counter, 8, 14)).toBe("HHHHLH");
  });

  it("3: is high for half an even count, one clock longer of an odd one", () => {
    expect(trace(makeCounter(3, 4), 1, 13)).toBe("HHLLHHLLHHLL");
    expect(trace(makeCounter(3, 5), 1, 11)).toBe("HHHLLHHHLL");
  });

  it("3: takes a new count at the end of the half period", () => {
    const counter = makeCounter(3, 8);
    counter.write(3, 4);
    expect(trace(counter, 1, 13)).toBe("HHHHLLHHLLHH");
  });

  it("3: counts by twos in either half", () => {
    const even = makeCounter(3, 6);
    expect([1, 2, 3, 4, 5, 6].map((tick) => even.read(tick))).toEqual([6, 4, 2, 6, 4, 2]);
    const odd = makeCounter(3, 5);
    expect([1, 2, 3, 4, 5].map((tick) => odd.read(tick))).toEqual([4, 2, 0, 4, 2]);
  });

  it("4: strobes for one clock after N + 1", () => {
    expect(trace(makeCounter(4, 3), 0, 8)).toBe("HHHHLHHH");
  });

  it("5: strobes N + 1 clocks after each trigger", () => {
    const counter = new PitCounter(false);
    counter.writeControl(0x1a);
    counter.write(0, 2);
    expect(trace(counter, 0, 5)).toBe("HHHHH");
    counter.setGate(5, true);
    expect(trace(counter, 5, 10)).toBe("HHHLH");
  });

  it("reads mode numbers 6 and 7 as 2 and 3", () => {
    const counter = makeCounter(6, 3);
    counter.latchStatus(5);
    expect(counter.read(5) & 0x0e).toBe(0x04);
  });

  it("knows the next rise from any tick, in every mode, under any writes and gates", () => {
    const random = new TestRandom(3);
    for (let round = 0; round < 400; round++) {
      const counter = new PitCounter(true);
      counter.writeControl(0x10 | (random.below(6) << 1));
      let tick = 0;
      for (let action = 0; action < 6; action++) {
        if (random.below(3) === 0) counter.setGate(tick, random.below(2) === 0);
        else counter.write(tick, 2 + random.below(12));
        const now = tick + random.below(9);
        for (let t = tick; t < now; t++) counter.output(t);
        const rise = counter.nextRise(now);
        let seen: number | undefined;
        const copy = new PitCounter(true);
        copyState(counter, copy);
        for (let t = now; t < now + 60 && seen === undefined; t++) {
          if (!copy.output(t) && copy.output(t + 1)) seen = t + 1;
        }
        if (rise !== seen) expect.fail(`round ${round}, tick ${now}: predicted ${rise}, seen ${seen}`);
        tick = now + 1;
      }
    }
  });
});

describe("Pit8254", () => {
  const [COUNTER0, COUNTER2, CONTROL] = [0x40, 0x42, 0x43];
  const rate = new TickRate(1_193_182);
  let context: VirtualContext;
  let pit: Pit8254;

  const write = (port: number, value: number) => pit.writePort(port, 1, value);
  const read = (port: number) => pit.readPort(port, 1);
  const program = (control: number, count: number) => {
    write(CONTROL, control);
    write(COUNTER0, count & 0xff);
    write(COUNTER0, count >> 8);
  };
  const toTick = (tick: number) => context.clock.advanceTo(rate.nsAt(tick));

  beforeEach(() => {
    context = new VirtualContext();
    pit = new Pit8254(context);
  });

  it("ticks IRQ 0 at exactly 1.193182 MHz / N", () => {
    program(0x34, 1193);
    context.clock.advanceTo(10e9);
    // Loaded at tick 1; rises at 1 + k * 1193 up to tick 11,931,820. The programming itself raised OUT once.
    expect(context.risingEdges(0)).toBe(1 + Math.floor((11_931_820 - 1) / 1193));
  });

  it("raises IRQ 0 once in mode 0, after the count", () => {
    program(0x30, 1000);
    toTick(1000);
    expect(context.irqLevel(0)).toBe(false);
    toTick(1001);
    expect(context.irqLevel(0)).toBe(true);
    expect(context.clock.armed()).toEqual([]);
    program(0x30, 10);
    expect(context.irqLevel(0)).toBe(false);
  });

  it("takes a count of zero as 65,536", () => {
    program(0x30, 0);
    toTick(65_536);
    expect(context.irqLevel(0)).toBe(false);
    toTick(65_537);
    expect(context.irqLevel(0)).toBe(true);
  });

  it("makes one edge of rises that were served late", () => {
    program(0x34, 100);
    const before = context.risingEdges(0);
    context.clock.skipTo(rate.nsAt(100_000));
    context.clock.advance(1);
    expect(context.risingEdges(0)).toBe(before + 1);
  });

  it("reads the running count, low byte first", () => {
    program(0x34, 0x1234);
    toTick(1 + 0x34);
    expect([read(COUNTER0), read(COUNTER0)]).toEqual([0x00, 0x12]);
  });

  it("holds a latched count until both bytes are read", () => {
    program(0x34, 0x4000);
    toTick(1 + 0x0100);
    write(CONTROL, 0x00);
    toTick(0x0800);
    write(CONTROL, 0x00);
    expect([read(COUNTER0), read(COUNTER0)]).toEqual([0x00, 0x3f]);
    expect(read(COUNTER0)).toBe((0x4000 - (0x0800 - 1)) & 0xff);
  });

  it("reads back status before count", () => {
    program(0x36, 0x2000);
    write(CONTROL, 0xc2);
    expect(read(COUNTER0)).toBe(0x80 | 0x40 | 0x36);
    read(COUNTER0);
    read(COUNTER0);
    toTick(0x1801);
    write(CONTROL, 0xe2);
    expect(read(COUNTER0)).toBe(0x36);
    expect([read(COUNTER0), read(COUNTER0)]).toEqual([0x00, 0x10]);
  });

  it("counts in BCD", () => {
    program(0x31, 0x1000);
    toTick(2);
    expect([read(COUNTER0), read(COUNTER0)]).toEqual([0x99, 0x09]);
    toTick(1002);
    expect([read(COUNTER0), read(COUNTER0)]).toEqual([0x99, 0x99]);
  });

  it("stops mode 0 at the first byte of a new count", () => {
    program(0x30, 10);
    write(COUNTER0, 5);
    toTick(1000);
    expect(context.irqLevel(0)).toBe(false);
    write(COUNTER0, 0);
    toTick(1006);
    expect(context.irqLevel(0)).toBe(true);
  });

  it("gates counter 2 for calibration loops", () => {
    write(CONTROL, 0xb0);
    write(COUNTER2, 0x9c);
    write(COUNTER2, 0x2e);
    context.clock.advance(1e9);
    expect(pit.speakerOutput()).toBe(false);
    pit.setSpeakerGate(true);
    context.clock.advance(9_990_000);
    expect(pit.speakerOutput()).toBe(false);
    context.clock.advance(20_000);
    expect(pit.speakerOutput()).toBe(true);
    expect(context.irqEdges).toEqual([]);
  });

  it("stands random traffic", () => {
    randomPortTraffic(pit, [0x40, 0x41, 0x42, 0x43], context, 4);
  });

  it("resumes between two edges without losing or adding one", () => {
    program(0x34, 1193);
    context.clock.advanceTo(5_500_000);
    const nextNs = context.clock.nextDeadlineNs();
    write(CONTROL, 0x00);
    pit = resume(pit, context, () => new Pit8254(context));
    expect(context.clock.nextDeadlineNs()).toBe(nextNs);
    const before = context.risingEdges(0);
    context.clock.advanceTo(10e9);
    // As many as without the interruption: ticks 1 + k * 1193 of the 11,931,820, less those of the first 5.5 ms.
    expect(context.risingEdges(0) - before).toBe(Math.floor((11_931_820 - 1) / 1193) - Math.floor((6_562 - 1) / 1193));
  });

  it("is silent after reset", () => {
    program(0x34, 100);
    pit.reset();
    expect(context.irqLevel(0)).toBe(false);
    expect(context.clock.armed()).toEqual([]);
  });
});

function copyState(from: PitCounter, to: PitCounter): void {
  const fields = from.save();
  to.load(new SavedState("copy", { version: 0, ...fields }, 0));
}
