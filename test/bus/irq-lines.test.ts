import { describe, expect, it } from "vitest";
import { IrqLines } from "../../src/bus/irq-lines.js";

function makeLines() {
  const log: string[] = [];
  const sink = (name: string) => ({
    setLine: (line: number, high: boolean) => log.push(`${name}${line}${high ? "+" : "-"}`),
  });
  return { lines: new IrqLines(sink("pic"), sink("ioapic")), log };
}

describe("IrqLines", () => {
  it("tells both controllers of an ISA interrupt, on changes of level only", () => {
    const { lines, log } = makeLines();
    const pin = lines.pin(4);
    pin.set(true);
    pin.set(true);
    pin.set(false);
    pin.set(false);
    expect(log).toEqual(["pic4+", "ioapic4+", "pic4-", "ioapic4-"]);
  });

  it("keeps a shared line high until its last holder lets go", () => {
    const { lines, log } = makeLines();
    const [first, second] = [lines.pin(17), lines.pin(17)];
    first.set(true);
    second.set(true);
    first.set(false);
    expect(lines.isHigh(17)).toBe(true);
    second.set(false);
    expect(lines.isHigh(17)).toBe(false);
    expect(log).toEqual(["ioapic17+", "ioapic17-"]);
  });

  it("wires IRQ 0 to IOAPIC pin 2", () => {
    const { lines, log } = makeLines();
    lines.pin(0).set(true);
    expect(log).toEqual(["pic0+", "ioapic2+"]);
  });

  it("has no line for the cascade and none beyond 23", () => {
    const { lines } = makeLines();
    expect(() => lines.pin(2)).toThrow(/cascade/);
    expect(() => lines.pin(24)).toThrow(/24/);
    expect(() => lines.pin(-1)).toThrow(/-1/);
  });
});
