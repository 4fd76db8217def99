import { describe, expect, it } from "vitest";
import type { AccessSize, MmioHandler } from "../../src/bus/access.js";
import { MmioBus } from "../../src/bus/mmio.js";
import { TestRandom } from "../devices/port-traffic.js";

/** Logs its accesses and reads as its own number in every byte. */
class Recorder implements MmioHandler {
  readonly log: string[] = [];
  readonly name: string;
  readonly #byte: number;

  constructor(name: string, byte: number) {
    this.name = name;
    this.#byte = byte;
  }

  readMmio(offset: number, size: AccessSize): number {
    this.log.push(`r${size}@${offset.toString(16)}`);
    return size === 4 ? (this.#byte * 0x0101_0101) >>> 0 : size === 2 ? this.#byte * 0x0101 : this.#byte;
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    this.log.push(`w${size}@${offset.toString(16)}=${value.toString(16)}`);
  }
}

function makeBus() {
  const faults: string[] = [];
  return { bus: new MmioBus((device) => faults.push(device)), faults };
}

describe("MmioBus", () => {
  it("gives handlers offsets into their region, above 4 GiB too", () => {
    const { bus } = makeBus();
    const device = new Recorder("device", 0x77);
    bus.claim(0x12_3456_7000, 0x1000, device);
    expect(bus.read(0x12_3456_7ffc, 4)).toBe(0x7777_7777);
    bus.write(0x12_3456_7010, 2, 0xcafe);
    expect(device.log).toEqual(["r4@ffc", "w2@10=cafe"]);
  });

  it("reads all ones where nothing answers", () => {
    const { bus } = makeBus();
    expect(bus.read(0xa0000, 8)).toBe(0xffff_ffff);
    expect(bus.high).toBe(0xffff_ffff);
    expect(bus.read(0xa0000, 1)).toBe(0xff);
    expect(bus.high).toBe(0);
  });

  it("splits 8 bytes into two doublewords, low half first", () => {
    const { bus } = makeBus();
    const device = new Recorder("device", 0x10);
    bus.claim(0xfee0_0000, 0x1000, device);
    expect(bus.read(0xfee0_0020, 8)).toBe(0x1010_1010);
    expect(bus.high).toBe(0x1010_1010);
    bus.write(0xfee0_0030, 8, 0x1111_1111, 0x2222_2222);
    expect(device.log).toEqual(["r4@20", "r4@24", "w4@30=11111111", "w4@34=22222222"]);
  });

  it("splits an access over the end of a region into bytes", () => {
    const { bus } = makeBus();
    const low = new Recorder("low", 0x11);
    const high = new Recorder("high", 0x22);
    bus.claim(0x1000, 0x10, low);
    bus.claim(0x1010, 0x10, high);
    expect(bus.read(0x100e, 4)).toBe(0x2222_1111);
    expect(bus.read(0x0ffe, 4)).toBe(0x1111_ffff);
    bus.write(0x101f, 2, 0xaabb);
    expect(high.log).toEqual(["r1@0", "r1@1", "w1@f=bb"]);
  });

  it("refuses overlapping claims", () => {
    const { bus } = makeBus();
    bus.claim(0x1000, 0x1000, new Recorder("first", 1));
    expect(() => bus.claim(0x1fff, 1, new Recorder("second", 2))).toThrow(/first/);
  });

  it("contains a device that throws and reports it", () => {
    const { bus, faults } = makeBus();
    const fail = () => {
      throw new Error("broken");
    };
    bus.claim(0x1000, 0x1000, { name: "broken device", readMmio: fail, writeMmio: fail });
    expect(bus.read(0x1000, 8)).toBe(0xffff_ffff);
    bus.write(0x1000, 1, 0);
    expect(faults).toEqual(["broken device", "broken device", "broken device"]);
  });

  it("answers a moved window at its new place only", () => {
    const { bus } = makeBus();
    const window = bus.map(0xc000_0000, 0x1000, new Recorder("bar", 0x44));
    expect(bus.read(0xc000_0000, 1)).toBe(0x44);
    window.move(0x10_0000_0000);
    expect(bus.read(0xc000_0000, 1)).toBe(0xff);
    expect(bus.read(0x10_0000_0fff, 1)).toBe(0x44);
    window.unmap();
    expect(bus.read(0x10_0000_0fff, 1)).toBe(0xff);
    window.move(Number.POSITIVE_INFINITY);
    expect(bus.read(0xc000_0000, 1)).toBe(0xff);
  });

  it("settles any overlap of windows as a byte by byte search would", () => {
    const { bus } = makeBus();
    const random = new TestRandom(7);
    bus.claim(40, 10, new Recorder("fixed", 0xf0));
    const places = Array.from({ length: 6 }, (_, i) => ({ first: 0, length: 5 + i * 7, mapped: true }));
    const windows = places.map((place, i) => bus.map(0, place.length, new Recorder(`w${i}`, i)));
    for (let round = 0; round < 300; round++) {
      const which = random.below(6);
      const place = places[which];
      if (place === undefined) continue;
      place.mapped = random.below(4) !== 0;
      place.first = random.below(100);
      if (place.mapped) windows[which]?.move(place.first);
      else windows[which]?.unmap();
      for (let address = 0; address < 160; address++) {
        const owner = places.findIndex((p) => p.mapped && address >= p.first && address < p.first + p.length);
        const expected = address >= 40 && address < 50 ? 0xf0 : owner < 0 ? 0xff : owner;
        if (bus.read(address, 1) !== expected) expect.fail(`round ${round}, address ${address}`);
      }
    }
  });
});
