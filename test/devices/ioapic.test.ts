import { beforeEach, describe, expect, it } from "vitest";
import { IoApic } from "../../src/devices/ioapic.js";
import type { ApicMessage } from "../../src/native/engine.js";
import { randomMmioTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const MASKED = 0x1_0000;
const LEVEL = 0x8000;
const LOGICAL = 0x0800;
const REMOTE_IRR = 0x4000;

let messages: ApicMessage[];
let accepts: boolean;
let ioapic: IoApic;

const makeIoApic = () =>
  new IoApic((message) => {
    messages.push(message);
    return accepts;
  });
const read = (index: number) => {
  ioapic.writeMmio(0, 4, index);
  return ioapic.readMmio(0x10, 4);
};
const write = (index: number, value: number) => {
  ioapic.writeMmio(0, 4, index);
  ioapic.writeMmio(0x10, 4, value);
};
const program = (pin: number, low: number, destination = 0) => {
  write(0x11 + 2 * pin, destination << 24);
  write(0x10 + 2 * pin, low);
};
const lowOf = (pin: number) => read(0x10 + 2 * pin);

beforeEach(() => {
  messages = [];
  accepts = true;
  ioapic = makeIoApic();
});

describe("registers", () => {
  it("has version 0x20 with 24 entries, all masked", () => {
    expect(read(1)).toBe(0x0017_0020);
    for (let pin = 0; pin < 24; pin++) expect(lowOf(pin)).toBe(MASKED);
  });

  it("keeps the identifier's four bits and shows them as arbitration", () => {
    write(0, 0xffff_ffff);
    expect([read(0), read(2)]).toEqual([0x0f00_0000, 0x0f00_0000]);
  });

  it("keeps the writable bits of an entry", () => {
    write(0x10, 0xffff_ffff);
    write(0x11, 0xffff_ffff);
    expect([read(0x10), read(0x11)]).toEqual([0x1_afff, 0xff00_0000]);
  });

  it("reads zero and ignores writes beyond the table", () => {
    write(0x40, 0xffff_ffff);
    expect([read(0x40), read(0x03), read(0xff)]).toEqual([0, 0, 0]);
  });

  it("gives narrow reads their part of a register and takes no narrow data writes", () => {
    ioapic.writeMmio(0, 1, 1);
    expect(ioapic.readMmio(0x12, 1)).toBe(0x17);
    expect(ioapic.readMmio(0x10, 2)).toBe(0x0020);
    ioapic.writeMmio(0, 1, 0x10);
    ioapic.writeMmio(0x10, 1, 0x55);
    expect(lowOf(0)).toBe(MASKED);
  });
});

describe("edge-triggered entries", () => {
  it("send one message for each rise, as programmed", () => {
    program(4, LOGICAL | 0x0100 | 0x35, 0x0f);
    ioapic.setLine(4, true);
    ioapic.setLine(4, true);
    ioapic.setLine(4, false);
    ioapic.setLine(4, true);
    const message = { destination: 0x0f, logical: true, deliveryMode: 1, vector: 0x35, levelTriggered: false };
    expect(messages).toEqual([message, message]);
    expect(lowOf(4) & REMOTE_IRR).toBe(0);
  });

  it("lose edges while masked", () => {
    program(4, MASKED | 0x35);
    ioapic.setLine(4, true);
    program(4, 0x35);
    expect(messages).toEqual([]);
  });
});

describe("level-triggered entries", () => {
  it("send once, then again at each EOI while the line stands", () => {
    program(17, LEVEL | 0x61, 3);
    ioapic.setLine(17, true);
    const message = { destination: 3, logical: false, deliveryMode: 0, vector: 0x61, levelTriggered: true };
    expect(messages).toEqual([message]);
    expect(lowOf(17)).toBe(LEVEL | REMOTE_IRR | 0x61);
    ioapic.setLine(17, false);
    ioapic.setLine(17, true);
    expect(messages).toHaveLength(1);
    ioapic.endOfInterrupt(0x62);
    expect(messages).toHaveLength(1);
    ioapic.endOfInterrupt(0x61);
    expect(messages).toEqual([message, message]);
    ioapic.setLine(17, false);
    ioapic.endOfInterrupt(0x61);
    expect(messages).toHaveLength(2);
    expect(lowOf(17) & REMOTE_IRR).toBe(0);
  });

  it("ends through the EOI register as well", () => {
    program(17, LEVEL | 0x61);
    ioapic.setLine(17, true);
    ioapic.writeMmio(0x40, 4, 0x61);
    expect(messages).toHaveLength(2);
  });

  it("deliver a line that stood while masked when unmasked", () => {
    program(9, MASKED | LEVEL | 0x29);
    ioapic.setLine(9, true);
    expect(messages).toEqual([]);
    program(9, LEVEL | 0x29);
    expect(messages).toHaveLength(1);
  });

  it("have remote IRR cleared by a spell as edge-triggered", () => {
    program(9, LEVEL | 0x29);
    ioapic.setLine(9, true);
    program(9, MASKED | 0x29);
    program(9, LEVEL | 0x29);
    expect(messages).toHaveLength(2);
  });

  it("are not in service when no Local APIC accepted", () => {
    accepts = false;
    program(9, LEVEL | 0x29);
    ioapic.setLine(9, true);
    expect(lowOf(9) & REMOTE_IRR).toBe(0);
    accepts = true;
    program(9, LEVEL | 0x29);
    expect(lowOf(9) & REMOTE_IRR).toBe(REMOTE_IRR);
  });

  it("are edges in the delivery modes that have no level", () => {
    program(2, LEVEL | 0x0400);
    ioapic.setLine(2, true);
    expect(messages).toEqual([{ destination: 0, logical: false, deliveryMode: 4, vector: 0, levelTriggered: false }]);
    expect(lowOf(2) & REMOTE_IRR).toBe(0);
  });
});

describe("robustness", () => {
  it("stands random traffic and lines", () => {
    for (let round = 0; round < 20; round++) {
      for (let pin = 0; pin < 24; pin++) ioapic.setLine(pin, (round + pin) % 3 === 0);
      randomMmioTraffic(ioapic, 0x48, round, 5000);
      for (let vector = 0; vector < 256; vector++) ioapic.endOfInterrupt(vector);
    }
    expect(messages.every((message) => message.destination >= 0 && message.destination < 256)).toBe(true);
  });

  it("resumes in service", () => {
    program(17, LEVEL | 0x61, 0xff);
    ioapic.setLine(17, true);
    ioapic = resume(ioapic, new VirtualContext(), makeIoApic);
    expect(messages).toHaveLength(1);
    ioapic.setLine(17, true);
    ioapic.endOfInterrupt(0x61);
    expect(messages).toHaveLength(2);
  });

  it("masks everything at reset", () => {
    program(17, LEVEL | 0x61);
    ioapic.reset();
    ioapic.setLine(17, true);
    expect(messages).toEqual([]);
  });
});
