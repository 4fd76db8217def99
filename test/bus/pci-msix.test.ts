import { describe, expect, it } from "vitest";
import { MmioBus } from "../../src/bus/mmio.js";
import { PciBus } from "../../src/bus/pci.js";
import { PciFunction } from "../../src/bus/pci-function.js";
import { Msix } from "../../src/bus/pci-msix.js";
import { PortBus } from "../../src/bus/ports.js";
import { SavedState } from "../../src/devices/saved-state.js";
import { VirtualContext } from "../devices/virtual-context.js";

const BASE = 0xd000_0000;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;

class Board {
  readonly context = new VirtualContext();
  readonly mmio = new MmioBus(() => {});
  readonly msix: Msix;
  readonly pci: PciFunction;

  constructor(vectors = 70) {
    this.msix = new Msix("messenger", vectors, this.context.msi);
    const identity = { vendorId: 1, deviceId: 2, revision: 0, classCode: 0, interruptPin: 1 } as const;
    this.pci = new PciFunction("messenger", identity, [this.msix.bar(1)]);
    this.msix.install(this.pci, 1);
    new PciBus(new PortBus(() => {}), this.mmio, (gsi) => this.context.irq(gsi)).attach(1, this.pci);
    this.pci.writeConfig(0x14, 4, BASE);
    this.pci.writeConfig(0x04, 2, 6);
  }

  control(value: number): void {
    this.pci.writeConfig(0x42, 2, value);
  }

  entry(vector: number, control: number): void {
    [0xfee0_1000, 0, 0x4000 + vector, control].forEach((value, index) => {
      this.mmio.write(BASE + 16 * vector + 4 * index, 4, value);
    });
  }

  get sent(): number[] {
    return this.context.msiMessages.map(({ data }) => data - 0x4000);
  }

  get pendingBase(): number {
    return BASE + (this.pci.readConfig(0x48, 4) & ~7);
  }
}

describe("MSI-X", () => {
  it("describes its table and pending bits", () => {
    const board = new Board();
    expect(board.pci.readConfig(0x40, 1)).toBe(0x11);
    expect(board.pci.readConfig(0x42, 2)).toBe(69);
    expect(board.pci.readConfig(0x44, 4)).toBe(1);
    expect(board.pci.readConfig(0x48, 4) & 7).toBe(1);
    expect(board.pci.readConfig(0x48, 4)).toBeGreaterThanOrEqual(70 * 16);
    expect(board.mmio.read(BASE + 16 * 69 + 12, 4)).toBe(1);
  });

  it("sends nothing while it is disabled", () => {
    const board = new Board();
    board.entry(0, 0);
    board.msix.trigger(0);
    board.control(ENABLE);
    expect(board.sent).toEqual([]);
  });

  it("sends a vector's address and data", () => {
    const board = new Board();
    board.control(ENABLE);
    board.entry(69, 0);
    board.msix.trigger(69);
    expect(board.context.msiMessages).toEqual([{ address: 0xfee0_1000, data: 0x4045 }]);
    board.msix.trigger(70);
    expect(board.sent).toEqual([69]);
  });

  it.each<[string, (board: Board) => void, (board: Board) => void]>([
    ["its mask", (board) => board.entry(65, 1), (board) => board.entry(65, 0)],
    ["the function mask", (board) => board.control(ENABLE | FUNCTION_MASK), (board) => board.control(ENABLE)],
    ["bus mastering", (board) => board.pci.writeConfig(4, 2, 2), (board) => board.pci.writeConfig(4, 2, 6)],
  ])("keeps a vector pending behind %s and sends it once when that falls", (_what, hold, letGo) => {
    const board = new Board();
    board.control(ENABLE);
    board.entry(65, 0);
    hold(board);
    board.msix.trigger(65);
    board.msix.trigger(65);
    expect(board.sent).toEqual([]);
    expect(board.mmio.read(board.pendingBase + 8, 4)).toBe(2);
    letGo(board);
    expect(board.sent).toEqual([65]);
    expect(board.mmio.read(board.pendingBase + 8, 4)).toBe(0);
  });

  it("does not let the guest write pending bits", () => {
    const board = new Board();
    board.mmio.write(board.pendingBase, 4, 0xffff_ffff);
    expect(board.mmio.read(board.pendingBase, 4)).toBe(0);
  });

  it("saves and loads table and pending bits", () => {
    const board = new Board();
    board.control(ENABLE);
    board.entry(3, 1);
    board.msix.trigger(3);
    const state = { version: 1, pci: board.pci.save(), msix: board.msix.save() };
    const resumed = new Board();
    const saved = new SavedState("messenger", JSON.parse(JSON.stringify(state)), 1);
    resumed.pci.load(saved.part("pci"));
    resumed.msix.load(saved.part("msix"));
    expect(resumed.mmio.read(resumed.pendingBase, 4)).toBe(8);
    resumed.entry(3, 0);
    expect(resumed.sent).toEqual([3]);
    resumed.pci.reset();
    resumed.msix.reset();
    expect(resumed.msix.enabled).toBe(false);
  });
});
