import { describe, expect, it } from "vitest";
import type { AccessSize, PortHandler } from "../../src/bus/access.js";
import { PortBus } from "../../src/bus/ports.js";

/** Logs its accesses and reads as its own number in every byte. */
class Recorder implements PortHandler {
  readonly log: string[] = [];
  readonly name: string;
  readonly #byte: number;

  constructor(name: string, byte: number) {
    this.name = name;
    this.#byte = byte;
  }

  readPort(port: number, size: AccessSize): number {
    this.log.push(`r${size}@${port.toString(16)}`);
    return size === 4 ? (this.#byte * 0x0101_0101) >>> 0 : size === 2 ? this.#byte * 0x0101 : this.#byte;
  }

  writePort(port: number, size: AccessSize, value: number): void {
    this.log.push(`w${size}@${port.toString(16)}=${value.toString(16)}`);
  }
}

function makeBus() {
  const faults: { device: string; error: unknown }[] = [];
  return { bus: new PortBus((device, error) => faults.push({ device, error })), faults };
}

describe("PortBus", () => {
  it("reads all ones where nothing answers, and forgets writes", () => {
    const { bus } = makeBus();
    bus.write(0x123, 4, 1);
    expect(bus.read(0x123, 1)).toBe(0xff);
    expect(bus.read(0x123, 2)).toBe(0xffff);
    expect(bus.read(0x123, 4)).toBe(0xffff_ffff);
    expect(bus.read(0xffff, 4)).toBe(0xffff_ffff);
  });

  it("passes an access whole to a device that owns all of it", () => {
    const { bus } = makeBus();
    const device = new Recorder("device", 0x5a);
    bus.claim(0xcfc, 4, device);
    expect(bus.read(0xcfc, 4)).toBe(0x5a5a_5a5a);
    bus.write(0xcfe, 2, 0xbeef);
    expect(device.log).toEqual(["r4@cfc", "w2@cfe=beef"]);
  });

  it("splits an access over neighbours into bytes, low port first", () => {
    const { bus } = makeBus();
    const low = new Recorder("low", 0x11);
    const high = new Recorder("high", 0x22);
    bus.claim(0x60, 1, low);
    bus.claim(0x61, 1, high);
    expect(bus.read(0x60, 4)).toBe(0xffff_2211);
    bus.write(0x60, 2, 0xabcd);
    expect(low.log).toEqual(["r1@60", "w1@60=cd"]);
    expect(high.log).toEqual(["r1@61", "w1@61=ab"]);
  });

  it("splits an access that hangs over the end of the bus", () => {
    const { bus } = makeBus();
    bus.claim(0xffff, 1, new Recorder("last", 0x33));
    expect(bus.read(0xffff, 2)).toBe(0xff33);
  });

  it("refuses overlapping claims", () => {
    const { bus } = makeBus();
    bus.claim(0x3f8, 8, new Recorder("first", 1));
    expect(() => bus.claim(0x3ff, 1, new Recorder("second", 2))).toThrow(/first/);
    expect(() => bus.claim(0xfffe, 4, new Recorder("beyond", 3))).toThrow(/outside/);
  });

  it("contains a device that throws and reports it", () => {
    const { bus, faults } = makeBus();
    const error = new Error("broken");
    const fail = () => {
      throw error;
    };
    bus.claim(0x80, 1, { name: "broken device", readPort: fail, writePort: fail });
    expect(bus.read(0x80, 1)).toBe(0xff);
    bus.write(0x80, 1, 0);
    expect(faults).toEqual([
      { device: "broken device", error },
      { device: "broken device", error },
    ]);
  });

  it("moves windows, fixed ports winning over them and earlier windows over later", () => {
    const { bus } = makeBus();
    bus.claim(0x1004, 1, new Recorder("fixed", 0xf0));
    const first = bus.map(0x1000, 8, new Recorder("first", 0x01));
    const second = bus.map(0x1004, 8, new Recorder("second", 0x02));
    const bytes = () => Array.from({ length: 12 }, (_, i) => bus.read(0x1000 + i, 1));
    expect(bytes()).toEqual([1, 1, 1, 1, 0xf0, 1, 1, 1, 2, 2, 2, 2]);
    first.move(0x2000);
    expect(bytes()).toEqual([0xff, 0xff, 0xff, 0xff, 0xf0, 2, 2, 2, 2, 2, 2, 2]);
    expect(bus.read(0x2007, 1)).toBe(1);
    second.unmap();
    expect(bytes()).toEqual([0xff, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    first.move(0xfffc);
    expect(bus.read(0xfffc, 1)).toBe(0xff);
  });
});
