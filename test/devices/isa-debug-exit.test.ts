import { describe, expect, it } from "vitest";
import { PortBus } from "../../src/bus/ports.js";
import { IsaDebugExit } from "../../src/devices/isa-debug-exit.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

function makeBus() {
  return new PortBus((_device, error) => {
    throw error;
  });
}

describe("IsaDebugExit", () => {
  it("ends the VM with an odd status, whatever the width", () => {
    const context = new VirtualContext();
    const bus = makeBus();
    new IsaDebugExit(context).attach(bus);
    bus.write(0xf4, 1, 0x10);
    bus.write(0xf4, 4, 0x11);
    bus.write(0xf5, 1, 0x7f);
    expect(context.powerEvents).toEqual([
      { kind: "exit", status: 0x21 },
      { kind: "exit", status: 0x23 },
    ]);
  });

  it("stands where it is told to", () => {
    const context = new VirtualContext();
    const bus = makeBus();
    new IsaDebugExit(context, 0x501).attach(bus);
    bus.write(0xf4, 1, 1);
    bus.write(0x501, 1, 0);
    expect(context.powerEvents).toEqual([{ kind: "exit", status: 1 }]);
    expect(bus.read(0x501, 1)).toBe(0xff);
  });

  it("stands random traffic and resumes", () => {
    const context = new VirtualContext();
    const device = new IsaDebugExit(context);
    randomPortTraffic(device, [0xf4, 0xf5, 0xf6, 0xf7], context, 6);
    resume(device, context, () => new IsaDebugExit(context));
    expect(() => device.load({ version: 2 })).toThrow(/version 2/);
  });
});
