import { beforeEach, describe, expect, it } from "vitest";
import { Pic8259 } from "../../src/devices/pic8259.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const MASTER = 0x20;
const SLAVE = 0xa0;
const NON_SPECIFIC_EOI = 0x20;

let levels: boolean[];
let pic: Pic8259;

const write = (port: number, value: number) => pic.writePort(port, 1, value);
const read = (port: number) => pic.readPort(port, 1);
const irr = (port: number) => {
  write(port, 0x0a);
  return read(port);
};
const isr = (port: number) => {
  write(port, 0x0b);
  return read(port);
};

/** ICW1..4 as a PC does it: vectors 0x20 and 0x28, unmasked. */
function initialise(icw4 = 0x01): void {
  for (const [port, base, icw3] of [
    [MASTER, 0x20, 0x04],
    [SLAVE, 0x28, 0x02],
  ] as const) {
    write(port, 0x11);
    write(port + 1, base);
    write(port + 1, icw3);
    write(port + 1, icw4);
  }
}

beforeEach(() => {
  levels = [];
  pic = new Pic8259((high) => levels.push(high));
  initialise();
});

describe("initialisation", () => {
  it("is silent before the last ICW", () => {
    pic.reset();
    pic.setLine(1, true);
    write(MASTER, 0x11);
    write(MASTER + 1, 0x40);
    write(MASTER + 1, 0x04);
    expect(pic.intr).toBe(false);
    write(MASTER + 1, 0x01);
    pic.setLine(1, false);
    pic.setLine(1, true);
    expect(pic.intr).toBe(true);
    expect(pic.acknowledge()).toBe(0x41);
  });

  it("keeps the mask register before it, which drivers use as a probe", () => {
    pic.reset();
    write(MASTER + 1, 0xfb);
    expect(read(MASTER + 1)).toBe(0xfb);
  });

  it("skips ICW3 in single mode and ICW4 where it is not announced", () => {
    write(MASTER, 0x12);
    write(MASTER + 1, 0x60);
    write(MASTER + 1, 0xfe);
    expect(read(MASTER + 1)).toBe(0xfe);
    pic.setLine(0, true);
    expect(pic.acknowledge()).toBe(0x60);
  });

  it("forgets edges, mask and service at ICW1", () => {
    pic.setLine(3, true);
    pic.acknowledge();
    write(MASTER + 1, 0xff);
    pic.setLine(4, true);
    initialise();
    expect([irr(MASTER), isr(MASTER), read(MASTER + 1), pic.intr]).toEqual([0, 0, 0, false]);
  });
});

describe("requests and service", () => {
  it("follows an interrupt from its edge through service to EOI", () => {
    pic.setLine(4, true);
    expect(levels).toEqual([true]);
    expect([irr(MASTER), isr(MASTER)]).toEqual([0x10, 0]);
    expect(pic.acknowledge()).toBe(0x24);
    expect(levels).toEqual([true, false]);
    expect([irr(MASTER), isr(MASTER)]).toEqual([0, 0x10]);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(isr(MASTER)).toBe(0);
    expect(pic.intr).toBe(false);
    pic.setLine(4, false);
    pic.setLine(4, true);
    expect(pic.acknowledge()).toBe(0x24);
  });

  it("lets only more urgent requests interrupt a service", () => {
    pic.setLine(4, true);
    pic.acknowledge();
    pic.setLine(5, true);
    expect(pic.intr).toBe(false);
    pic.setLine(1, true);
    expect(pic.intr).toBe(true);
    expect(pic.acknowledge()).toBe(0x21);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(isr(MASTER)).toBe(0x10);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(pic.acknowledge()).toBe(0x25);
  });

  it("holds a masked request back and delivers it when unmasked", () => {
    write(MASTER + 1, 0x02);
    pic.setLine(1, true);
    expect(pic.intr).toBe(false);
    expect(irr(MASTER)).toBe(0x02);
    write(MASTER + 1, 0);
    expect(pic.acknowledge()).toBe(0x21);
  });

  it("ends a service by name, out of order", () => {
    pic.setLine(4, true);
    pic.acknowledge();
    pic.setLine(1, true);
    pic.acknowledge();
    write(MASTER, 0x60 | 4);
    expect(isr(MASTER)).toBe(0x02);
  });

  it("reports interrupt 7 when the request has gone, without service", () => {
    pic.setLine(4, true);
    pic.setLine(4, false);
    expect(pic.intr).toBe(false);
    expect(pic.acknowledge()).toBe(0x27);
    expect(isr(MASTER)).toBe(0);
  });

  it("reports interrupt 7 for a vanished request of the slave too, whose INT falls with it", () => {
    pic.setLine(9, true);
    pic.setLine(9, false);
    expect(pic.intr).toBe(false);
    expect(pic.acknowledge()).toBe(0x27);
    expect([isr(MASTER), isr(SLAVE)]).toEqual([0, 0]);
  });
});

describe("cascade", () => {
  it("delivers slave interrupts with the slave's vector, needing two EOIs", () => {
    pic.setLine(12, true);
    expect(pic.acknowledge()).toBe(0x2c);
    expect([isr(MASTER), isr(SLAVE)]).toEqual([0x04, 0x10]);
    pic.setLine(9, true);
    expect(pic.intr).toBe(false);
    write(SLAVE, NON_SPECIFIC_EOI);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(pic.acknowledge()).toBe(0x29);
  });

  it("ranks slave interrupts between master inputs 1 and 3", () => {
    for (const line of [3, 15, 1, 8]) pic.setLine(line, true);
    const order: number[] = [];
    while (pic.intr) {
      const vector = pic.acknowledge();
      order.push(vector);
      if (vector >= 0x28) write(SLAVE, NON_SPECIFIC_EOI);
      write(MASTER, NON_SPECIFIC_EOI);
    }
    expect(order).toEqual([0x21, 0x28, 0x2f, 0x23]);
  });

  it("lets a more urgent slave request through in special fully nested mode", () => {
    write(MASTER, 0x11);
    for (const value of [0x20, 0x04, 0x11]) write(MASTER + 1, value);
    pic.setLine(12, true);
    pic.acknowledge();
    pic.setLine(9, true);
    expect(pic.intr).toBe(true);
    expect(pic.acknowledge()).toBe(0x29);
  });
});

describe("modes", () => {
  it("ends service by itself in automatic EOI mode", () => {
    initialise(0x03);
    pic.setLine(3, true);
    expect(pic.acknowledge()).toBe(0x23);
    expect(isr(MASTER)).toBe(0);
  });

  it("rotates in automatic EOI mode when told to", () => {
    initialise(0x03);
    write(MASTER, 0x80);
    pic.setLine(3, true);
    pic.acknowledge();
    pic.setLine(4, true);
    pic.setLine(1, true);
    expect(pic.acknowledge()).toBe(0x24);
    write(MASTER, 0x00);
    pic.setLine(3, false);
    pic.setLine(3, true);
    expect(pic.acknowledge()).toBe(0x21);
    pic.setLine(1, false);
    pic.setLine(1, true);
    expect(pic.acknowledge()).toBe(0x21);
  });

  it("rotates on EOI and sets priorities", () => {
    pic.setLine(4, true);
    pic.acknowledge();
    write(MASTER, 0xa0);
    pic.setLine(1, true);
    pic.setLine(5, true);
    expect(pic.acknowledge()).toBe(0x25);
    write(MASTER, 0xe0 | 5);
    expect(isr(MASTER)).toBe(0);
    write(MASTER, 0xc0 | 0);
    pic.setLine(0, true);
    expect(pic.acknowledge()).toBe(0x21);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(pic.acknowledge()).toBe(0x20);
  });

  it("lets less urgent requests through a masked service in special mask mode", () => {
    pic.setLine(3, true);
    pic.acknowledge();
    pic.setLine(6, true);
    expect(pic.intr).toBe(false);
    write(MASTER + 1, 0x08);
    write(MASTER, 0x68);
    expect(pic.intr).toBe(true);
    expect(pic.acknowledge()).toBe(0x26);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(isr(MASTER)).toBe(0x08);
    write(MASTER, 0x48);
    write(MASTER, NON_SPECIFIC_EOI);
    expect(isr(MASTER)).toBe(0);
  });

  it("acknowledges by polling", () => {
    write(MASTER, 0x0c);
    expect(read(MASTER)).toBe(0);
    pic.setLine(5, true);
    write(MASTER, 0x0c);
    expect(read(MASTER)).toBe(0x85);
    expect(isr(MASTER)).toBe(0x20);
  });

  it("repeats a level interrupt until its line drops", () => {
    write(0x4d1, 0x02);
    pic.setLine(9, true);
    for (let i = 0; i < 3; i++) {
      expect(pic.acknowledge()).toBe(0x29);
      write(SLAVE, NON_SPECIFIC_EOI);
      write(MASTER, NON_SPECIFIC_EOI);
    }
    pic.setLine(9, false);
    expect(pic.intr).toBe(false);
  });

  it("keeps the fixed edge inputs out of the edge/level registers", () => {
    pic.writePort(0x4d0, 2, 0xffff);
    expect(pic.readPort(0x4d0, 2)).toBe(0xdef8);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    const context = new VirtualContext();
    randomPortTraffic(pic, [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1], context, 1);
    for (let i = 0; i < 1000; i++) {
      pic.setLine([0, 1, 3, 4, 9, 12, 15][i % 7] ?? 0, i % 3 === 0);
      expect(pic.acknowledge()).toBeLessThan(0x100);
    }
  });

  it("resumes where it was saved", () => {
    write(0x4d1, 0x02);
    pic.setLine(9, true);
    pic.acknowledge();
    pic.setLine(1, true);
    const outputs: boolean[] = [];
    const resumed = resume(pic, new VirtualContext(), () => new Pic8259((high) => outputs.push(high)));
    expect(outputs).toEqual([true]);
    expect(resumed.acknowledge()).toBe(0x21);
    resumed.writePort(MASTER, 1, NON_SPECIFIC_EOI);
    resumed.writePort(MASTER, 1, NON_SPECIFIC_EOI);
    resumed.writePort(SLAVE, 1, NON_SPECIFIC_EOI);
    expect(resumed.acknowledge()).toBe(0x29);
  });

  it("resumes in the middle of initialisation", () => {
    write(MASTER, 0x11);
    write(MASTER + 1, 0x50);
    const resumed = resume(pic, new VirtualContext(), () => new Pic8259(() => {}));
    resumed.writePort(MASTER + 1, 1, 0x04);
    resumed.writePort(MASTER + 1, 1, 0x01);
    resumed.setLine(0, true);
    expect(resumed.acknowledge()).toBe(0x50);
  });

  it("refuses a state of another version", () => {
    expect(() => pic.load({ ...pic.save(), version: 99 })).toThrow(
      expect.objectContaining({ code: "VM_CONFIG_INVALID" }),
    );
  });
});
