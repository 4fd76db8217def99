import { beforeEach, describe, expect, it } from "vitest";
import { PortBus } from "../../src/bus/ports.js";
import { AcpiPm } from "../../src/devices/acpi-pm.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const [STATUS, ENABLE, CONTROL, TIMER, GPE_STATUS, GPE_ENABLE] = [0x600, 0x602, 0x604, 0x608, 0x620, 0x624];
const SCI = 9;
const POWER_BUTTON = 0x100;
const HALF_24_BIT_NS = Math.ceil((2 ** 23 * 1e9) / 3_579_545);

let context: VirtualContext;
let bus: PortBus;
let pm: AcpiPm;

function makePm(timerBits: 24 | 32 = 24): AcpiPm {
  const device = new AcpiPm(context, { timerBits });
  bus = new PortBus((_device, error) => {
    throw error;
  });
  device.attach(bus);
  return device;
}

beforeEach(() => {
  context = new VirtualContext();
  pm = makePm();
});

describe("events", () => {
  it("turns a press of the power button into an SCI that the guest clears", () => {
    bus.write(ENABLE, 2, POWER_BUTTON);
    pm.pressPowerButton();
    expect(context.irqLevel(SCI)).toBe(true);
    expect(bus.read(STATUS, 2)).toBe(POWER_BUTTON);
    bus.write(STATUS, 2, 0x0001);
    expect(context.irqLevel(SCI)).toBe(true);
    bus.write(STATUS, 2, POWER_BUTTON);
    expect(context.irqLevel(SCI)).toBe(false);
    expect(bus.read(STATUS, 2)).toBe(0);
  });

  it("keeps a press until the guest enables the button", () => {
    pm.pressPowerButton();
    expect(context.irqLevel(SCI)).toBe(false);
    bus.write(ENABLE + 1, 1, 0x01);
    expect(context.irqLevel(SCI)).toBe(true);
    expect(bus.read(ENABLE, 2)).toBe(POWER_BUTTON);
  });

  it("raises general-purpose events through the same SCI", () => {
    pm.raiseEvent(9);
    expect(bus.read(GPE_STATUS, 4)).toBe(0x200);
    expect(context.irqLevel(SCI)).toBe(false);
    bus.write(GPE_ENABLE, 4, 0x200);
    expect(context.irqLevel(SCI)).toBe(true);
    bus.write(GPE_STATUS + 1, 1, 0x02);
    expect(context.irqLevel(SCI)).toBe(false);
    expect(bus.read(GPE_ENABLE, 4)).toBe(0x200);
  });
});

describe("control", () => {
  it("is always in ACPI mode", () => {
    bus.write(CONTROL, 2, 0);
    expect(bus.read(CONTROL, 2)).toBe(1);
  });

  it("powers off for sleep type 5 with SLP_EN, which reads as zero", () => {
    bus.write(CONTROL, 2, 5 << 10);
    expect(context.powerEvents).toEqual([]);
    bus.write(CONTROL, 2, (5 << 10) | (1 << 13) | 1);
    expect(context.powerEvents).toEqual([{ kind: "power-off" }]);
    expect(bus.read(CONTROL, 2)).toBe((5 << 10) | 1);
  });

  it("warns of a sleep type it does not have", () => {
    bus.write(CONTROL, 2, (3 << 10) | (1 << 13));
    expect(context.powerEvents).toEqual([]);
    expect(context.warnings).toHaveLength(1);
  });
});

describe("timer", () => {
  it("counts 3,579,545 ticks in a second, in 24 bits", () => {
    context.clock.advanceTo(1e9);
    expect(bus.read(TIMER, 4)).toBe(3_579_545);
    context.clock.advanceTo(5e9);
    expect(bus.read(TIMER, 4)).toBe((5 * 3_579_545) % 2 ** 24);
    expect(bus.read(TIMER + 2, 2)).toBe(((5 * 3_579_545) % 2 ** 24) >> 16);
  });

  it("counts in 32 bits where asked", () => {
    context = new VirtualContext();
    pm = makePm(32);
    context.clock.advanceTo(1300e9);
    expect(bus.read(TIMER, 4)).toBe((1300 * 3_579_545) % 2 ** 32);
  });

  it("sets its status whenever the highest bit changes", () => {
    context.clock.advanceTo(HALF_24_BIT_NS - 1);
    expect(bus.read(STATUS, 2)).toBe(0);
    context.clock.advance(1);
    expect(bus.read(STATUS, 2)).toBe(1);
    bus.write(STATUS, 2, 1);
    expect(bus.read(STATUS, 2)).toBe(0);
    context.clock.advance(HALF_24_BIT_NS);
    expect(bus.read(STATUS, 2)).toBe(1);
    expect(context.irqEdges).toEqual([]);
  });

  it("interrupts at each change of the highest bit when enabled, and needs no timer otherwise", () => {
    expect(context.clock.armed()).toEqual([]);
    bus.write(ENABLE, 2, 1);
    for (let half = 1; half <= 3; half++) {
      context.clock.advance(HALF_24_BIT_NS);
      expect(context.irqLevel(SCI)).toBe(true);
      bus.write(STATUS, 2, 1);
      expect(context.irqLevel(SCI)).toBe(false);
    }
    bus.write(ENABLE, 2, 0);
    expect(context.clock.armed()).toEqual([]);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    const ports = [
      ...Array.from({ length: 12 }, (_, i) => 0x600 + i),
      ...Array.from({ length: 8 }, (_, i) => 0x620 + i),
    ];
    randomPortTraffic(pm, ports, context, 5);
  });

  it("resumes with events pending and the carry awaited", () => {
    bus.write(ENABLE, 2, POWER_BUTTON | 1);
    pm.raiseEvent(3);
    context.clock.advanceTo(2e9);
    pm = resume(pm, context, makePm);
    expect(context.irqLevel(SCI)).toBe(false);
    expect(bus.read(GPE_STATUS, 1)).toBe(0x08);
    context.clock.advanceTo(HALF_24_BIT_NS);
    expect(context.irqLevel(SCI)).toBe(true);
    pm.reset();
    expect(context.irqLevel(SCI)).toBe(false);
    expect([bus.read(STATUS, 2), bus.read(ENABLE, 2), bus.read(GPE_STATUS, 4)]).toEqual([0, 0, 0]);
  });
});
