import { beforeEach, describe, expect, it } from "vitest";
import { PortBus } from "../../src/bus/ports.js";
import { Pit8254 } from "../../src/devices/pit8254.js";
import { A20Gate, SystemControl } from "../../src/devices/system-control.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const RESET_CONTROL = 0xcf9;

let context: VirtualContext;
let pit: Pit8254;
let a20: A20Gate;
let control: SystemControl;

beforeEach(() => {
  context = new VirtualContext();
  pit = new Pit8254(context);
  a20 = new A20Gate();
  control = new SystemControl(context, pit, a20);
});

const write = (port: number, value: number) => control.writePort(port, 1, value);
const read = (port: number) => control.readPort(port, 1);

describe("port 0x61", () => {
  it("times with counter 2: gate in bit 0, output in bit 5", () => {
    pit.writePort(0x43, 1, 0xb0);
    pit.writePort(0x42, 1, 100);
    pit.writePort(0x42, 1, 0);
    expect(read(0x61) & 0x2f).toBe(0);
    write(0x61, 0x01);
    context.clock.advance(83_000);
    expect(read(0x61) & 0x2f).toBe(0x01);
    context.clock.advance(1_000);
    expect(read(0x61) & 0x2f).toBe(0x21);
  });

  it("toggles the refresh bit every 15 us and keeps only its own bits", () => {
    write(0x61, 0xff);
    const first = read(0x61);
    expect(first & 0xcf).toBe(0x0f);
    context.clock.advance(15_085);
    expect((read(0x61) ^ first) & 0x10).toBe(0x10);
    context.clock.advance(15_085);
    expect((read(0x61) ^ first) & 0x10).toBe(0);
  });
});

describe("resets", () => {
  it("resets on a rise of RST_CPU at 0xCF9", () => {
    write(RESET_CONTROL, 0x02);
    expect(context.powerEvents).toEqual([]);
    write(RESET_CONTROL, 0x06);
    write(RESET_CONTROL, 0x06);
    expect(context.powerEvents).toHaveLength(1);
    expect(context.powerEvents[0]).toMatchObject({ kind: "reset" });
    expect(read(RESET_CONTROL)).toBe(0x06);
    control.reset();
    write(RESET_CONTROL, 0x0e);
    expect(context.powerEvents).toHaveLength(2);
  });

  it("resets on a rise of bit 0 at 0x92", () => {
    write(0x92, 0x02);
    expect(context.powerEvents).toEqual([]);
    write(0x92, 0x03);
    expect(context.powerEvents).toHaveLength(1);
  });
});

describe("A20 and POST", () => {
  it("shares the A20 gate with whoever else moves it", () => {
    expect(read(0x92)).toBe(0x02);
    write(0x92, 0x00);
    expect(a20.enabled).toBe(false);
    a20.enabled = true;
    expect(read(0x92)).toBe(0x02);
  });

  it("keeps the POST code", () => {
    write(0x80, 0x42);
    expect([read(0x80), control.postCode]).toEqual([0x42, 0x42]);
  });

  it("claims its ports but for 0xCF9, which lies within the host bridge's", () => {
    const bus = new PortBus((_device, error) => {
      throw error;
    });
    control.attach(bus);
    bus.write(0x80, 1, 7);
    bus.write(RESET_CONTROL, 1, 0x06);
    expect(control.postCode).toBe(7);
    expect(context.powerEvents).toEqual([]);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    randomPortTraffic(control, [0x61, 0x80, 0x92, 0xcf9], context, 7);
  });

  it("resumes", () => {
    write(0x61, 0x0c);
    write(0x92, 0x00);
    write(0x80, 9);
    write(RESET_CONTROL, 0x02);
    const gate = new A20Gate();
    const resumed = resume(control, context, () => new SystemControl(context, pit, gate));
    expect(gate.enabled).toBe(false);
    expect(resumed.postCode).toBe(9);
    expect(resumed.readPort(0x61, 1) & 0x0f).toBe(0x0c);
    expect(resumed.readPort(RESET_CONTROL, 1)).toBe(0x02);
  });
});
