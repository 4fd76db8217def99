import { describe, expect, it } from "vitest";
import type { PortHandler } from "../../src/bus/access.js";
import { MmioBus } from "../../src/bus/mmio.js";
import { PciBus } from "../../src/bus/pci.js";
import { PciFunction } from "../../src/bus/pci-function.js";
import { PortBus } from "../../src/bus/ports.js";
import { ECAM_BASE, ECAM_BYTES, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, PciHost } from "../../src/devices/pci-host.js";
import { VmError } from "../../src/errors.js";
import { randomSource } from "./virtio/driver.js";
import { VirtualContext } from "./virtual-context.js";

class Board {
  readonly context = new VirtualContext();
  readonly faults: unknown[] = [];
  readonly ports = new PortBus((_device, error) => this.faults.push(error));
  readonly mmio = new MmioBus((_device, error) => this.faults.push(error));
  readonly bus = new PciBus(this.ports, this.mmio, (gsi) => this.context.irq(gsi));
  readonly resets: number[] = [];
  readonly host: PciHost;

  constructor() {
    const resetControl: PortHandler = {
      name: "reset-control",
      readPort: () => 0x5a,
      writePort: (_port, _size, value) => {
        this.resets.push(value);
      },
    };
    this.host = new PciHost(this.bus, resetControl);
    this.ports.claim(PCI_CONFIG_PORT, PCI_CONFIG_PORTS, this.host);
    this.mmio.claim(ECAM_BASE, ECAM_BYTES, this.host);
    const identity = { vendorId: 0x1234, deviceId: 0x5678, revision: 0, classCode: 0, interruptPin: 1 } as const;
    this.bus.attach(31, new PciFunction("last", identity));
  }
}

describe("host bridge", () => {
  it("is the Q35 memory controller hub in slot 0 and tells where ECAM is", () => {
    const board = new Board();
    expect(board.mmio.read(ECAM_BASE, 4)).toBe(0x29c0_8086);
    expect(board.mmio.read(ECAM_BASE + 0x0a, 2)).toBe(0x0600);
    expect(board.mmio.read(ECAM_BASE + 0x60, 8)).toBe(0xb000_0001);
  });

  it("reaches every width and byte lane through mechanism 1", () => {
    const board = new Board();
    board.ports.write(0xcf8, 4, 0x8000_f800);
    expect(board.ports.read(0xcf8, 4)).toBe(0x8000_f800);
    expect(board.ports.read(0xcfc, 4)).toBe(0x5678_1234);
    expect(board.ports.read(0xcfe, 2)).toBe(0x5678);
    expect(board.ports.read(0xcfd, 1)).toBe(0x12);
    board.ports.write(0xcf8, 4, 0x8000_f83c);
    board.ports.write(0xcfc, 1, 0x0b);
    expect(board.mmio.read(ECAM_BASE + (31 << 15) + 0x3c, 1)).toBe(0x0b);
  });

  it("answers mechanism 1 with all ones while it is not enabled or nothing is there", () => {
    const board = new Board();
    board.ports.write(0xcf8, 4, 0x0000_f800);
    expect(board.ports.read(0xcfc, 4)).toBe(0xffff_ffff);
    board.ports.write(0xcf8, 4, 0x8001_f800);
    expect(board.ports.read(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it("takes CONFIG_ADDRESS as a doubleword alone and hands byte accesses of 0xCF9 on", () => {
    const board = new Board();
    board.ports.write(0xcf8, 4, 0xffff_ffff);
    expect(board.ports.read(0xcf8, 4)).toBe(0x80ff_fffc);
    board.ports.write(0xcf9, 1, 0x06);
    board.ports.write(0xcf8, 2, 0x0606);
    expect(board.resets).toEqual([0x06]);
    expect(board.ports.read(0xcf9, 1)).toBe(0x5a);
    expect(board.ports.read(0xcf8, 4)).toBe(0x80ff_fffc);
  });

  it("reaches the same registers through ECAM", () => {
    const board = new Board();
    const last = ECAM_BASE + (31 << 15);
    expect(board.mmio.read(last, 4)).toBe(0x5678_1234);
    expect(board.mmio.read(last + 0x1000, 4)).toBe(0xffff_ffff);
    expect(board.mmio.read(last + 0x100, 4)).toBe(0xffff_ffff);
    expect(board.mmio.read(ECAM_BASE + 0x10_0000, 4)).toBe(0xffff_ffff);
    expect(board.mmio.read(ECAM_BASE + ECAM_BYTES - 4, 4)).toBe(0xffff_ffff);
  });

  it("saves and loads CONFIG_ADDRESS and refuses what it does not know", () => {
    const board = new Board();
    board.ports.write(0xcf8, 4, 0x8000_f804);
    const state = board.host.save();
    board.host.reset();
    expect(board.ports.read(0xcf8, 4)).toBe(0);
    board.host.load(JSON.parse(JSON.stringify(state)));
    expect(board.ports.read(0xcf8, 4)).toBe(0x8000_f804);
    expect(() => board.host.load({ ...state, version: 9 })).toThrow(VmError);
    expect(() => board.host.load({ ...state, address: -1 })).toThrow(VmError);
  });

  it("survives random traffic", () => {
    const board = new Board();
    const random = randomSource(42);
    const sizes = [1, 2, 4] as const;
    for (let i = 0; i < 100_000; i++) {
      const size = sizes[random(3)] ?? 1;
      if (random(2) === 0) board.ports.write(0xcf8 + random(8), size, random(2 ** 32));
      else board.mmio.write(ECAM_BASE + random(2) * (31 << 15) + random(0x1100), size, random(2 ** 32));
      board.ports.read(0xcf8 + random(8), size);
      board.mmio.read(ECAM_BASE + random(ECAM_BYTES), size);
    }
    expect(board.faults).toEqual([]);
    expect(board.mmio.read(ECAM_BASE, 4)).toBe(0x29c0_8086);
  });
});
