import { describe, expect, it } from "vitest";
import type { DeviceState } from "../../../src/devices/device.js";
import { VirtioRng } from "../../../src/devices/virtio/rng.js";
import { VmError } from "../../../src/errors.js";
import { Board, Driver, EVENT_INDEX, GSI, INDIRECT, STATUS } from "./driver.js";

function rngBoard(): { board: Board; driver: Driver } {
  const board = new Board((context) => new VirtioRng(context));
  return { board, driver: new Driver(board) };
}

describe("virtio over PCI", () => {
  it("identifies as a modern device whose subsystem and revision rule the legacy interface out", () => {
    const { driver } = rngBoard();
    expect(driver.config(0x00, 4)).toBe(0x1044_1af4);
    expect(driver.config(0x08, 1)).toBe(1);
    expect(driver.config(0x2e, 2)).toBeGreaterThanOrEqual(0x40);
    expect(driver.config(0x3d, 1)).toBe(1);
  });

  it("lists all five structures inside its regions", () => {
    const { driver } = rngBoard();
    expect([...driver.structures.keys()].sort()).toEqual([1, 2, 3, 4, 5]);
    for (const type of [1, 2, 3, 4]) {
      const structure = driver.structures.get(type);
      expect(structure?.bar).toBe(0);
      expect((structure?.offset ?? 0) + (structure?.length ?? 0)).toBeLessThanOrEqual(0x4000);
    }
  });

  it("offers VERSION_1, indirect descriptors and event index", () => {
    const { driver } = rngBoard();
    expect(driver.offered()).toEqual([INDIRECT, EVENT_INDEX, 32]);
  });

  it("refuses FEATURES_OK without VERSION_1 or with bits that were not offered", () => {
    const { driver } = rngBoard();
    for (const features of [[], [INDIRECT], [32, 5], [32, 40]]) {
      driver.status = 0;
      driver.status = 3;
      driver.accept(features);
      driver.status = 3 | STATUS.featuresOk;
      expect(driver.status).toBe(3);
    }
  });

  it("does not go live without FEATURES_OK", () => {
    const { driver } = rngBoard();
    driver.status = 3 | STATUS.driverOk;
    expect(driver.status).toBe(3);
  });

  it("keeps features once FEATURES_OK is set", () => {
    const { driver } = rngBoard();
    driver.negotiate([INDIRECT]);
    driver.accept([32, EVENT_INDEX]);
    driver.setCommon(0x08, 4, 0);
    expect(driver.common(0x0c, 4)).toBe(2 ** INDIRECT);
  });

  it("forgets everything on reset", () => {
    const { driver } = rngBoard();
    driver.start([EVENT_INDEX]);
    driver.setCommon(0x10, 2, 1);
    expect(driver.common(0x1c, 2)).toBe(1);
    driver.status = 0;
    expect(driver.status).toBe(0);
    expect(driver.common(0x1c, 2)).toBe(0);
    expect(driver.common(0x18, 2)).toBe(8);
    expect(driver.common(0x20, 4)).toBe(0);
    expect(driver.common(0x10, 2)).toBe(0xffff);
  });

  it("shows a queue that does not exist as size 0 and ignores writes to it", () => {
    const { driver } = rngBoard();
    driver.setCommon(0x16, 2, 9);
    driver.setCommon(0x18, 2, 4);
    driver.setCommon(0x1c, 2, 1);
    expect(driver.common(0x18, 2)).toBe(0);
    expect(driver.common(0x1c, 2)).toBe(0);
    expect(driver.status & STATUS.needsReset).toBe(0);
  });

  it("reads and writes 64-bit queue addresses exactly", () => {
    const { driver } = rngBoard();
    driver.setQueueAddresses(0x1_2345_6789_abc0, 0xf_ffff_ffff_fffe, 0x8000_0000_4);
    expect([driver.common(0x20, 4), driver.common(0x24, 4)]).toEqual([0x6789_abc0, 0x0001_2345]);
    expect([driver.common(0x28, 4), driver.common(0x2c, 4)]).toEqual([0xffff_fffe, 0x000f_ffff]);
    expect([driver.common(0x30, 4), driver.common(0x34, 4)]).toEqual([0x0000_0004, 0x0000_0008]);
  });

  it.each([
    ["a size that is no power of two", 3, [0x1000, 0x2000, 0x3000]],
    ["size 0", 0, [0x1000, 0x2000, 0x3000]],
    ["more entries than offered", 16, [0x1000, 0x2000, 0x3000]],
    ["misaligned descriptors", 8, [0x1008, 0x2000, 0x3000]],
    ["a misaligned available ring", 8, [0x1000, 0x2001, 0x3000]],
    ["a misaligned used ring", 8, [0x1000, 0x2000, 0x3002]],
    ["an address past 52 bits", 8, [2 ** 52, 0x2000, 0x3000]],
  ])("needs a reset when a queue is enabled with %s", (_what, size, [descriptors = 0, available = 0, used = 0]) => {
    const { board, driver } = rngBoard();
    driver.negotiate();
    driver.setCommon(0x16, 2, 0);
    driver.setCommon(0x18, 2, size);
    driver.setQueueAddresses(descriptors, available, used);
    driver.setCommon(0x1c, 2, 1);
    expect(driver.common(0x1c, 2)).toBe(0);
    expect(driver.status & STATUS.needsReset).toBe(STATUS.needsReset);
    expect(board.context.warnings).toHaveLength(1);
  });

  it("does not look at a queue before DRIVER_OK, and does at DRIVER_OK", () => {
    const { board, driver } = rngBoard();
    driver.negotiate();
    const queue = driver.queue(0);
    queue.submit([{ address: board.allocate(64), length: 64, writable: true }]);
    expect(queue.collect()).toEqual([]);
    driver.ready();
    expect(queue.collect()).toEqual([{ id: 0, length: 64 }]);
  });

  it("does not look at a queue while bus mastering is off, and does when it comes on", () => {
    const { board, driver } = rngBoard();
    const [queue] = driver.start();
    board.mmio.write(board.config(0x04), 2, 0x0002);
    queue?.submit([{ address: board.allocate(64), length: 64, writable: true }]);
    expect(queue?.collect()).toEqual([]);
    board.mmio.write(board.config(0x04), 2, 0x0006);
    expect(queue?.collect()).toHaveLength(1);
    expect(driver.status & STATUS.needsReset).toBe(0);
  });

  it("raises INTx until the ISR status is read, unless the guest disabled it", () => {
    const { board, driver } = rngBoard();
    const [queue] = driver.start();
    const buffer = { address: board.allocate(16), length: 16, writable: true };
    queue?.submit([buffer]);
    expect(board.context.irqLevel(GSI)).toBe(true);
    expect(driver.config(0x06, 2) & 0x08).toBe(0x08);
    expect(driver.readIsr()).toBe(1);
    expect(driver.readIsr()).toBe(0);
    expect(board.context.irqLevel(GSI)).toBe(false);
    board.mmio.write(board.config(0x04), 2, 0x0406);
    queue?.submit([buffer]);
    expect(board.context.irqLevel(GSI)).toBe(false);
    board.mmio.write(board.config(0x04), 2, 0x0006);
    expect(board.context.irqLevel(GSI)).toBe(true);
  });

  it("sends the queue's message and leaves pin and queue bit alone while MSI-X is enabled", () => {
    const { board, driver } = rngBoard();
    driver.setMsixControl(0x8000);
    driver.setVector(1, 0x41);
    driver.negotiate();
    const queue = driver.queue(0);
    driver.setCommon(0x1a, 2, 1);
    expect(driver.common(0x1a, 2)).toBe(1);
    driver.ready();
    queue.submit([{ address: board.allocate(16), length: 16, writable: true }]);
    expect(board.context.msiMessages).toEqual([{ address: 0xfee0_0000, data: 0x41 }]);
    expect(board.context.irqLevel(GSI)).toBe(false);
    expect(driver.readIsr()).toBe(0);
  });

  it("reads a vector that does not exist back as none and then stays silent", () => {
    const { board, driver } = rngBoard();
    driver.setMsixControl(0x8000);
    const [queue] = driver.start();
    driver.setCommon(0x1a, 2, 2);
    expect(driver.common(0x1a, 2)).toBe(0xffff);
    queue?.submit([{ address: board.allocate(16), length: 16, writable: true }]);
    expect(queue?.collect()).toHaveLength(1);
    expect(board.context.msiMessages).toEqual([]);
  });

  it("tells the driver by the configuration interrupt that it needs a reset, and works after one", () => {
    const { board, driver } = rngBoard();
    driver.setMsixControl(0x8000);
    driver.setVector(0, 0x40);
    driver.negotiate();
    driver.setCommon(0x10, 2, 0);
    const queue = driver.queue(0);
    driver.ready();
    const generation = driver.common(0x15, 1);
    queue.offer(500);
    queue.notify();
    expect(driver.status & STATUS.needsReset).toBe(STATUS.needsReset);
    expect(driver.common(0x15, 1)).not.toBe(generation);
    expect(board.context.msiMessages).toEqual([{ address: 0xfee0_0000, data: 0x40 }]);
    expect(driver.readIsr()).toBe(2);
    const [fresh] = driver.start();
    fresh?.submit([{ address: board.allocate(16), length: 16, writable: true }]);
    expect(fresh?.collect()).toHaveLength(1);
  });

  it("reaches structures through configuration space alone", () => {
    const { board, driver } = rngBoard();
    const at = driver.structures.get(5)?.at ?? 0;
    const access = (offset: number, length: number): void => {
      board.mmio.write(board.config(at + 4), 1, 0);
      board.mmio.write(board.config(at + 8), 4, offset);
      board.mmio.write(board.config(at + 12), 4, length);
    };
    access(0x12, 2);
    expect(driver.config(at + 16, 2)).toBe(1);
    access(0x14, 1);
    board.mmio.write(board.config(at + 16), 1, STATUS.acknowledge);
    expect(driver.status).toBe(STATUS.acknowledge);
    access(0x3fff, 4);
    expect(() => driver.config(at + 16, 4)).not.toThrow();
    access(0xffff_fffc, 4);
    board.mmio.write(board.config(at + 16), 4, 1);
    board.mmio.write(board.config(at + 4), 1, 7);
    board.mmio.write(board.config(at + 16), 4, 1);
    expect(driver.status).toBe(STATUS.acknowledge);
    expect(board.faults).toEqual([]);
  });

  it("carries on after save and load as if nothing had happened", () => {
    const { board, driver } = rngBoard();
    driver.setMsixControl(0x8000);
    driver.setVector(1, 0x41, true);
    driver.negotiate([EVENT_INDEX, INDIRECT]);
    const queue = driver.queue(0, 4);
    driver.setCommon(0x1a, 2, 1);
    driver.ready();
    const buffer = { address: board.allocate(16), length: 16, writable: true };
    for (let i = 0; i < 6; i++) {
      board.putWord(queue.usedEvent, i);
      queue.submit([buffer]);
    }
    expect(queue.collect()).toHaveLength(6);
    expect(board.mmio.read(driver.msixPending, 4)).toBe(2);
    const state = JSON.parse(JSON.stringify(board.device.save())) as DeviceState;
    driver.status = 0;
    board.mmio.write(board.config(0x10), 4, 0xd000_0000);
    board.device.load(state);
    expect(board.device.save()).toEqual(state);
    expect(driver.common(0x18, 2)).toBe(4);
    queue.submit([buffer]);
    expect(queue.collect()).toHaveLength(1);
    driver.setVector(1, 0x42);
    expect(board.context.msiMessages).toEqual([{ address: 0xfee0_0000, data: 0x42 }]);
  });

  it("refuses saved state of another version or shape", () => {
    const { board } = rngBoard();
    const state = board.device.save();
    expect(() => board.device.load({ ...state, version: 2 })).toThrow(VmError);
    expect(() => board.device.load({ ...state, queues: [] })).toThrow(VmError);
    expect(() => board.device.load({ ...state, common: 7 })).toThrow(VmError);
  });

  it("answers any access of any width anywhere without a fault", () => {
    const { board, driver } = rngBoard();
    const base = driver.barAddress(0);
    for (let offset = 0; offset < 0x4000; offset += 3) {
      for (const size of [1, 2, 4, 8] as const) {
        board.mmio.read(base + offset, size);
        board.mmio.write(base + offset, size, 0xa5a5_a5a5, 0x5a5a_5a5a);
      }
    }
    expect(board.faults).toEqual([]);
  });
});
