import { describe, expect, it } from "vitest";
import type { MmioHandler } from "../../src/bus/access.js";
import { MmioBus } from "../../src/bus/mmio.js";
import { intxGsi, PciBus } from "../../src/bus/pci.js";
import { type PciBar, PciFunction, type PciIdentity } from "../../src/bus/pci-function.js";
import { assignResources } from "../../src/bus/pci-resources.js";
import { PortBus } from "../../src/bus/ports.js";
import { SavedState } from "../../src/devices/saved-state.js";
import { VmError } from "../../src/errors.js";
import { VirtualContext } from "../devices/virtual-context.js";

const IDENTITY: PciIdentity = {
  vendorId: 0x1234,
  deviceId: 0x5678,
  revision: 9,
  classCode: 0x0c_03_30,
  subsystemVendorId: 0xabcd,
  subsystemId: 0xef01,
  interruptPin: 1,
};

/** A region that answers with its own offsets and remembers the last write. */
class Echo implements MmioHandler {
  readonly name = "echo";
  readonly writes: [number, number, number][] = [];

  readMmio(offset: number): number {
    return offset;
  }

  writeMmio(offset: number, size: number, value: number): void {
    this.writes.push([offset, size, value]);
  }
}

class Board {
  readonly context = new VirtualContext();
  readonly faults: unknown[] = [];
  readonly ports = new PortBus((_device, error) => this.faults.push(error));
  readonly mmio = new MmioBus((_device, error) => this.faults.push(error));
  readonly bus = new PciBus(this.ports, this.mmio, (gsi) => this.context.irq(gsi));
}

function withBars(board: Board, device: number, ...bars: readonly PciBar[]): PciFunction {
  const pci = new PciFunction(`device-${device}`, IDENTITY, bars);
  board.bus.attach(device, pci);
  return pci;
}

const routing = (device: number, functionNumber = 0): number => (device << 3) | functionNumber;

describe("configuration space", () => {
  it("shows the identity at every width and ignores writes to it", () => {
    const board = new Board();
    withBars(board, 4);
    const id = routing(4);
    expect(board.bus.readConfig(id, 0x00, 4)).toBe(0x5678_1234);
    expect(board.bus.readConfig(id, 0x02, 2)).toBe(0x5678);
    expect(board.bus.readConfig(id, 0x03, 1)).toBe(0x56);
    expect(board.bus.readConfig(id, 0x08, 4)).toBe(0x0c03_3009);
    expect(board.bus.readConfig(id, 0x2c, 4)).toBe(0xef01_abcd);
    expect(board.bus.readConfig(id, 0x3d, 1)).toBe(1);
    for (let offset = 0; offset < 0x40; offset += 4) board.bus.writeConfig(id, offset, 4, 0xffff_ffff);
    expect(board.bus.readConfig(id, 0x00, 4)).toBe(0x5678_1234);
    expect(board.bus.readConfig(id, 0x04, 2)).toBe(0x0404);
    expect(board.bus.readConfig(id, 0x3c, 2)).toBe(0x01ff);
  });

  it("answers where nothing sits, and past 256 bytes, with all ones", () => {
    const board = new Board();
    withBars(board, 4);
    expect(board.bus.readConfig(routing(5), 0, 4)).toBe(0xffff_ffff);
    expect(board.bus.readConfig(routing(4, 1), 0, 2)).toBe(0xffff);
    expect(board.bus.readConfig(0x100 | routing(4), 0, 1)).toBe(0xff);
    expect(board.bus.readConfig(routing(4), 0x100, 4)).toBe(0xffff_ffff);
    board.bus.writeConfig(routing(5), 4, 2, 7);
  });

  it("splits an access that crosses a doubleword", () => {
    const board = new Board();
    withBars(board, 4);
    expect(board.bus.readConfig(routing(4), 0x2d, 4)).toBe(0x00ef_01ab);
    board.bus.writeConfig(routing(4), 0x3b, 2, 0x5500);
    expect(board.bus.readConfig(routing(4), 0x3c, 1)).toBe(0x55);
  });

  it("chains capabilities and lets the guest write only what they allow", () => {
    const board = new Board();
    const pci = new PciFunction("capable", IDENTITY);
    const seen: number[] = [];
    pci.addCapability({ id: 0x09, body: new Uint8Array([5, 1, 2]) });
    const body = pci.addCapability({
      id: 0x05,
      body: new Uint8Array(6),
      writable: new Uint8Array([0xf0, 0, 0xff, 0, 0, 0]),
      afterWrite: (offset) => seen.push(offset),
    });
    board.bus.attach(1, pci);
    expect(pci.readConfig(0x06, 2) & 0x10).toBe(0x10);
    expect(pci.readConfig(0x34, 1)).toBe(0x40);
    expect(pci.readConfig(0x40, 4)).toBe(0x0105_4809);
    expect(pci.readConfig(0x48, 2)).toBe(0x0005);
    pci.writeConfig(body - 2, 4, 0xffff_ffff);
    pci.writeConfig(body + 2, 1, 0x5a);
    expect(pci.readConfig(0x48, 4)).toBe(0x00f0_0005);
    expect(pci.readConfig(0x4c, 1)).toBe(0x5a);
    expect(seen).toEqual([-2, 2]);
  });

  it("marks a slot of several functions", () => {
    const board = new Board();
    board.bus.attach(2, new PciFunction("first", IDENTITY), new PciFunction("second", IDENTITY));
    expect(board.bus.readConfig(routing(2), 0x0e, 1)).toBe(0x80);
    expect(board.bus.readConfig(routing(2, 1), 0x00, 2)).toBe(0x1234);
  });
});

describe("base address registers", () => {
  const bar = (index: number, kind: PciBar["kind"], sizeBytes: number, handler: MmioHandler = new Echo()): PciBar => ({
    index,
    kind,
    sizeBytes,
    handler,
  });

  it("tell their size and type", () => {
    const board = new Board();
    const prefetchable = { ...bar(3, "memory32", 0x10_0000), prefetchable: true };
    const pci = withBars(board, 1, bar(0, "memory64", 0x4000), bar(2, "io", 32), prefetchable);
    for (const index of [0, 1, 2, 3, 4]) pci.writeConfig(0x10 + 4 * index, 4, 0xffff_ffff);
    expect([0, 1, 2, 3, 4].map((index) => pci.readConfig(0x10 + 4 * index, 4))).toEqual([
      0xffff_c004, 0xffff_ffff, 0xffff_ffe1, 0xfff0_0008, 0,
    ]);
  });

  it("are decoded only while the command register enables it, wherever they are moved", () => {
    const board = new Board();
    const handler = new Echo();
    const pci = withBars(board, 1, bar(0, "memory32", 0x1000, handler));
    pci.writeConfig(0x10, 4, 0xd000_0000);
    expect(board.mmio.read(0xd000_0010, 4)).toBe(0xffff_ffff);
    pci.writeConfig(0x04, 2, 2);
    expect(board.mmio.read(0xd000_0010, 4)).toBe(0x10);
    board.mmio.write(0xd000_0020, 2, 0x1234);
    expect(handler.writes).toEqual([[0x20, 2, 0x1234]]);
    pci.writeConfig(0x12, 2, 0xe000);
    expect(board.mmio.read(0xd000_0010, 4)).toBe(0xffff_ffff);
    expect(board.mmio.read(0xe000_0010, 4)).toBe(0x10);
    pci.writeConfig(0x04, 2, 0);
    expect(board.mmio.read(0xe000_0010, 4)).toBe(0xffff_ffff);
  });

  it("are decoded above 4 GiB and in the port space", () => {
    const board = new Board();
    const pci = withBars(board, 1, bar(0, "memory64", 0x1000), bar(2, "io", 16));
    pci.writeConfig(0x04, 2, 3);
    pci.writeConfig(0x10, 4, 0x8000_0000);
    pci.writeConfig(0x14, 4, 0x12);
    pci.writeConfig(0x18, 4, 0xc000);
    expect(board.mmio.read(0x12_8000_0008, 4)).toBe(8);
    expect(board.ports.read(0xc004, 2)).toBe(4);
    pci.writeConfig(0x18, 4, 0xd000);
    expect(board.ports.read(0xc004, 2)).toBe(0xffff);
    expect(board.ports.read(0xd00c, 4)).toBe(12);
  });

  it("never disturb fixed devices or each other, however the guest overlaps them", () => {
    const board = new Board();
    const fixed = new Echo();
    board.mmio.claim(0xfec0_0000, 0x1000, fixed);
    const [low, high] = [1, 2].map((device) => withBars(board, device, bar(0, "memory32", 0x1000)));
    for (const pci of [low, high]) {
      pci?.writeConfig(0x10, 4, 0xfec0_0000);
      pci?.writeConfig(0x04, 2, 2);
    }
    board.mmio.write(0xfec0_0000, 4, 1);
    expect(fixed.writes).toHaveLength(1);
    low?.writeConfig(0x10, 4, 0xd000_0000);
    high?.writeConfig(0x10, 4, 0xd000_0000);
    expect(board.mmio.read(0xd000_0ff0, 4)).toBe(0xff0);
    low?.writeConfig(0x04, 2, 0);
    expect(board.mmio.read(0xd000_0ff0, 4)).toBe(0xff0);
    expect(board.faults).toEqual([]);
  });

  it("come back with saved state and vanish at reset", () => {
    const board = new Board();
    const pci = withBars(board, 1, bar(0, "memory32", 0x1000));
    pci.writeConfig(0x10, 4, 0xd000_0000);
    pci.writeConfig(0x04, 2, 2);
    const state = JSON.parse(JSON.stringify({ version: 1, ...pci.save() }));
    pci.reset();
    expect(board.mmio.read(0xd000_0010, 4)).toBe(0xffff_ffff);
    expect(pci.readConfig(0x10, 4)).toBe(0);
    pci.load(new SavedState("device-1", state, 1));
    expect(board.mmio.read(0xd000_0010, 4)).toBe(0x10);
  });
});

describe("INTx", () => {
  it("is shared by wired OR and reaches the line that the slot decides", () => {
    const board = new Board();
    const one = withBars(board, 1);
    const nine = withBars(board, 9);
    expect(intxGsi(1, 1)).toBe(17);
    expect(intxGsi(9, 1)).toBe(17);
    expect(intxGsi(7, 4)).toBe(18);
    one.setInterrupt(true);
    nine.setInterrupt(true);
    one.setInterrupt(false);
    expect(board.context.irqLevel(17)).toBe(true);
    nine.setInterrupt(false);
    expect(board.context.irqEdges.map(({ high }) => high)).toEqual([true, false]);
  });

  it("is held back by the disable bit and by messages, while the status tells of it", () => {
    const board = new Board();
    const pci = withBars(board, 1);
    pci.writeConfig(0x04, 2, 0x400);
    pci.setInterrupt(true);
    expect(pci.readConfig(0x06, 2) & 8).toBe(8);
    expect(board.context.irqLevel(17)).toBe(false);
    pci.writeConfig(0x04, 2, 0);
    expect(board.context.irqLevel(17)).toBe(true);
    pci.setMessageSignalled(true);
    expect(board.context.irqLevel(17)).toBe(false);
    expect(pci.readConfig(0x06, 2) & 8).toBe(0);
  });
});

describe("resources", () => {
  it("are placed apart, aligned, inside their windows, and switched on", () => {
    const board = new Board();
    const memory = (index: number, kind: PciBar["kind"], sizeBytes: number): PciBar => ({
      index,
      kind,
      sizeBytes,
      handler: new Echo(),
    });
    const functions = [1, 2, 3].map((device) =>
      withBars(board, device, memory(0, "memory64", 0x4000), memory(2, "memory32", 0x100_0000), memory(3, "io", 64)),
    );
    assignResources(board.bus);
    const ranges = functions.flatMap((pci) =>
      pci.bars.map((bar) => ({ kind: bar.kind, start: pci.decodedAddress(bar) ?? -1, size: bar.sizeBytes })),
    );
    for (const { kind, start, size } of ranges) {
      expect(start % size).toBe(0);
      expect(start).toBeGreaterThanOrEqual(kind === "io" ? 0x1000 : 0xc000_0000);
      expect(start + size - 1).toBeLessThanOrEqual(kind === "io" ? 0xffff : 0xfebf_ffff);
    }
    const inMemory = ranges.filter(({ kind }) => kind !== "io").sort((a, b) => a.start - b.start);
    inMemory.reduce((before, after) => {
      expect(after.start).toBeGreaterThanOrEqual(before.start + before.size);
      return after;
    });
    expect(functions.map((pci) => pci.readConfig(0x3c, 1))).toEqual([17, 18, 19]);
  });

  it("say so when they run out", () => {
    const board = new Board();
    const huge: PciBar = { index: 0, kind: "memory32", sizeBytes: 0x4000_0000, handler: new Echo() };
    withBars(board, 1, huge);
    expect(() => assignResources(board.bus)).toThrow(VmError);
  });
});
