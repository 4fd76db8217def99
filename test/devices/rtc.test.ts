import { beforeEach, describe, expect, it } from "vitest";
import { Rtc } from "../../src/devices/rtc.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const IRQ = 8;
const SECOND = 1e9;
const MIB = 1 << 20;
const [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY] = [0, 2, 4, 6, 7, 8, 9, 0x32];
const [SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM] = [1, 3, 5];
const [A, B, C, D] = [0x0a, 0x0b, 0x0c, 0x0d];

let context: VirtualContext;
let rtc: Rtc;

const makeRtc = () => new Rtc(context, { lowMemoryBytes: 512 * MIB, highMemoryBytes: 0 });
const read = (register: number) => {
  rtc.writePort(0x70, 1, register);
  return rtc.readPort(0x71, 1);
};
const write = (register: number, value: number) => {
  rtc.writePort(0x70, 1, register);
  rtc.writePort(0x71, 1, value);
};
/** The time registers as hexadecimal text: century, year, month, day, hours, minutes, seconds. */
const clockText = () =>
  [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map((r) => read(r).toString(16).padStart(2, "0")).join(" ");
const setTime = (hours: number, minutes: number, seconds: number) => {
  write(B, read(B) | 0x80);
  write(HOURS, hours);
  write(MINUTES, minutes);
  write(SECONDS, seconds);
  write(B, read(B) & ~0x80);
};

beforeEach(() => {
  // 2024-01-02 03:04:05 UTC, a Tuesday.
  context = new VirtualContext({ wallClockMs: Date.UTC(2024, 0, 2, 3, 4, 5) });
  rtc = makeRtc();
});

describe("time", () => {
  it("starts at the wall clock, in BCD and 24 hours", () => {
    expect(clockText()).toBe("20 24 01 02 03 04 05");
    expect([read(WEEKDAY), read(B), read(D)]).toEqual([3, 0x02, 0x80]);
  });

  it("follows guest time, from the wall clock's fraction of a second", () => {
    context = new VirtualContext({ wallClockMs: Date.UTC(2024, 1, 28, 23, 59, 59, 750) });
    rtc = makeRtc();
    context.clock.advance(249_999_999);
    expect(clockText()).toBe("20 24 02 28 23 59 59");
    context.clock.advance(1);
    expect(clockText()).toBe("20 24 02 29 00 00 00");
    expect(read(WEEKDAY)).toBe(5);
    context.clock.advance(86_400 * SECOND);
    expect(clockText()).toBe("20 24 03 01 00 00 00");
  });

  it("carries into the century", () => {
    context = new VirtualContext({ wallClockMs: Date.UTC(2099, 11, 31, 23, 59, 59) });
    rtc = makeRtc();
    context.clock.advance(SECOND);
    expect(clockText()).toBe("21 00 01 01 00 00 00");
  });

  it("counts in binary and 12 hours where told to", () => {
    write(B, 0x84);
    for (const [register, value] of [
      [CENTURY, 20],
      [YEAR, 30],
      [MONTH, 12],
      [DAY, 31],
      [WEEKDAY, 7],
    ] as const) {
      write(register, value);
    }
    setTime(0x80 | 11, 59, 58);
    context.clock.advance(SECOND);
    expect([read(HOURS), read(MINUTES), read(SECONDS)]).toEqual([0x80 | 11, 59, 59]);
    context.clock.advance(SECOND);
    expect([CENTURY, YEAR, MONTH, DAY, HOURS, WEEKDAY].map(read)).toEqual([20, 31, 1, 1, 12, 1]);
    context.clock.advance(12 * 3600 * SECOND);
    expect(read(HOURS)).toBe(0x80 | 12);
  });

  it("stands still while SET is set", () => {
    write(B, 0x82);
    context.clock.advance(10 * SECOND);
    expect(clockText()).toBe("20 24 01 02 03 04 05");
    write(B, 0x02);
    context.clock.advance(SECOND);
    expect(read(SECONDS)).toBe(0x06);
  });

  it("makes its first update half a second after the divider is released", () => {
    write(A, 0x70);
    context.clock.advance(10 * SECOND + 123);
    write(A, 0x26);
    context.clock.advance(SECOND / 2 - 1);
    expect(read(SECONDS)).toBe(0x05);
    context.clock.advance(1);
    expect(read(SECONDS)).toBe(0x06);
    context.clock.advance(SECOND);
    expect(read(SECONDS)).toBe(0x07);
  });

  it("announces updates by UIP", () => {
    context.clock.advanceTo(SECOND - 2_228_001);
    expect(read(A)).toBe(0x26);
    context.clock.advance(1);
    expect(read(A)).toBe(0xa6);
    context.clock.advanceTo(SECOND);
    expect(read(A)).toBe(0x26);
    write(B, 0x82);
    context.clock.advanceTo(2 * SECOND - 1);
    expect(read(A)).toBe(0x26);
  });
});

describe("interrupts", () => {
  it("ends each update with a flag, and an interrupt where enabled", () => {
    context.clock.advance(SECOND);
    expect(read(C)).toBe(0x10 | 0x40);
    write(B, 0x12);
    context.clock.advance(SECOND - 1);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(1);
    expect(context.irqLevel(IRQ)).toBe(true);
    context.clock.advance(5 * SECOND);
    expect(context.risingEdges(IRQ)).toBe(1);
    expect(read(C) & 0xb0).toBe(0x90);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(SECOND);
    expect(context.risingEdges(IRQ)).toBe(2);
  });

  it("interrupts periodically at the chosen rate", () => {
    write(B, 0x42);
    for (let i = 1; i <= 1024; i++) {
      context.clock.advanceTo(Math.ceil((i * SECOND) / 1024));
      expect(context.risingEdges(IRQ)).toBe(i);
      expect(read(C) & 0xc0).toBe(0xc0);
    }
    write(A, 0x2f);
    context.clock.advanceTo(1.499 * SECOND);
    expect(context.risingEdges(IRQ)).toBe(1024);
    context.clock.advanceTo(1.5 * SECOND);
    expect(context.risingEdges(IRQ)).toBe(1025);
  });

  it("takes rates 1 and 2 as 256 Hz and 128 Hz, and 0 as none", () => {
    write(B, 0x42);
    for (const [rate, hz] of [
      [1, 256],
      [2, 128],
    ] as const) {
      write(A, 0x20 | rate);
      read(C);
      const before = context.risingEdges(IRQ);
      const start = context.clock.nowNs();
      for (let i = 1; i <= hz; i++) {
        context.clock.advanceTo(start + (i * SECOND) / hz);
        read(C);
      }
      expect(context.risingEdges(IRQ) - before).toBe(hz);
    }
    write(A, 0x20);
    read(C);
    expect(context.clock.armed()).toEqual([]);
  });

  it("interrupts at the alarm", () => {
    write(SECONDS_ALARM, 0x10);
    write(MINUTES_ALARM, 0x04);
    write(HOURS_ALARM, 0x03);
    write(B, 0x22);
    context.clock.advance(5 * SECOND - 1);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(1);
    expect(context.irqLevel(IRQ)).toBe(true);
    expect(read(C) & 0xa0).toBe(0xa0);
    context.clock.advance(86_400 * SECOND - 1);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(1);
    expect(context.irqLevel(IRQ)).toBe(true);
  });

  it("matches any hour, minute or second where told to", () => {
    write(HOURS_ALARM, 0xc0);
    write(MINUTES_ALARM, 0xff);
    write(SECONDS_ALARM, 0x07);
    write(B, 0x22);
    const times: number[] = [];
    for (let i = 0; i < 3; i++) {
      context.clock.advanceTo(context.clock.nextDeadlineNs() ?? 0);
      times.push(context.clock.nowNs() / SECOND);
      read(C);
    }
    expect(times).toEqual([2, 62, 122]);
    write(SECONDS_ALARM, 0xc5);
    context.clock.advance(SECOND);
    expect(read(C) & 0xa0).toBe(0xa0);
  });

  it("never matches an alarm that is no time", () => {
    write(SECONDS_ALARM, 0x75);
    write(B, 0x22);
    expect(context.clock.armed()).toEqual([]);
    context.clock.advance(2 * 86_400 * SECOND);
    expect(read(C) & 0x20).toBe(0);
  });
});

describe("CMOS", () => {
  it("tells the sizes of memory", () => {
    const word = (register: number) => read(register) | (read(register + 1) << 8);
    expect([word(0x15), word(0x17), word(0x30), word(0x34)]).toEqual([640, 0xffff, 0xffff, (496 * MIB) / 65_536]);
    rtc = new Rtc(new VirtualContext(), { lowMemoryBytes: 0xb000_0000, highMemoryBytes: 2 ** 40 });
    expect(word(0x34)).toBe((0xb000_0000 - 16 * MIB) / 65_536);
    expect(word(0x5b) | (read(0x5d) << 16)).toBe(2 ** 24 - 1);
    rtc = new Rtc(new VirtualContext(), { lowMemoryBytes: 4 * MIB, highMemoryBytes: 6 * 65_536 });
    expect([word(0x17), word(0x34), word(0x5b), read(0x5d)]).toEqual([3072, 0, 6, 0]);
    let sum = 0;
    for (let register = 0x10; register <= 0x2d; register++) sum += read(register);
    expect((read(0x2e) << 8) | read(0x2f)).toBe(sum);
  });

  it("keeps RAM and time over a reset, which disables interrupts", () => {
    write(0x40, 0x99);
    write(B, 0x72);
    context.clock.advance(SECOND);
    expect(context.irqLevel(IRQ)).toBe(true);
    rtc.reset();
    expect(context.irqLevel(IRQ)).toBe(false);
    expect([read(0x40), read(B), read(C), read(SECONDS)]).toEqual([0x99, 0x02, 0, 0x06]);
  });

  it("has read-only C and D, an unreadable index, and an NMI bit that is no part of it", () => {
    write(C, 0xff);
    write(D, 0x00);
    expect([read(C), read(D)]).toEqual([0, 0x80]);
    expect(rtc.readPort(0x70, 1)).toBe(0xff);
    write(0x80 | 0x40, 0x12);
    expect(read(0x40)).toBe(0x12);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    randomPortTraffic(rtc, [0x70, 0x71], context, 8);
    context.clock.skipTo(context.clock.nowNs() + 400 * 86_400 * SECOND);
    randomPortTraffic(rtc, [0x70, 0x71], context, 9, 1000);
  });

  it("resumes with time set, alarm awaited and flags unread", () => {
    setTime(0x10, 0x20, 0x30);
    write(SECONDS_ALARM, 0x35);
    write(MINUTES_ALARM, 0xff);
    write(HOURS_ALARM, 0xff);
    write(B, 0x22);
    context.clock.advance(2.5 * SECOND);
    rtc = resume(rtc, context, makeRtc);
    expect(context.clock.nextDeadlineNs()).toBe(5 * SECOND);
    context.clock.advance(2.5 * SECOND);
    expect(context.irqLevel(IRQ)).toBe(true);
    rtc = resume(rtc, context, makeRtc);
    expect(context.irqLevel(IRQ)).toBe(true);
    expect(clockText()).toBe("20 24 01 02 10 20 35");
    expect(read(C) & 0xb0).toBe(0xb0);
  });
});
