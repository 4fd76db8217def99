import { describe, expect, it } from "vitest";
import type { DeviceState } from "../../../src/devices/device.js";
import { VirtioBlock } from "../../../src/devices/virtio/block.js";
import { Board, type Buffer, Driver, type DriverQueue, EVENT_INDEX, GSI, INDIRECT, STATUS } from "./driver.js";
import { MemoryDisk } from "./memory-disk.js";

const TYPE = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const FLUSH = 9;
const CONFIG_WCE = 11;
const DISK_BYTES = 1 << 20;

class Machine {
  readonly disk: MemoryDisk;
  readonly board: Board;
  readonly driver: Driver;
  queue: DriverQueue;

  constructor(features: readonly number[] = [FLUSH], disk = new MemoryDisk(DISK_BYTES)) {
    this.disk = disk;
    this.board = new Board((context) => new VirtioBlock(context, disk));
    this.driver = new Driver(this.board);
    this.queue = this.restart(features);
  }

  restart(features: readonly number[] = [FLUSH]): DriverQueue {
    const [queue] = this.driver.start(features);
    if (queue === undefined) throw new Error("the device has one queue");
    this.queue = queue;
    return queue;
  }

  header(type: number, sector: number): Buffer {
    const view = new DataView(new ArrayBuffer(16));
    view.setUint32(0, type, true);
    view.setUint32(8, sector % 2 ** 32, true);
    view.setUint32(12, Math.floor(sector / 2 ** 32), true);
    const address = this.board.allocate(16);
    this.board.put(address, new Uint8Array(view.buffer));
    return { address, length: 16 };
  }

  /** A buffer in RAM that holds `bytes`, or room for that many. */
  data(bytes: Uint8Array | number): Buffer {
    const length = typeof bytes === "number" ? bytes : bytes.length;
    const address = this.board.allocate(length);
    if (typeof bytes !== "number") this.board.put(address, bytes);
    return { address, length, writable: typeof bytes === "number" };
  }

  /** A status byte that reads 0xee until the device writes it. */
  status(): Buffer {
    const address = this.board.allocate(1, 1);
    this.board.put(address, Uint8Array.of(0xee));
    return { address, length: 1, writable: true };
  }

  statusOf(buffer: Buffer): number {
    return this.board.context.memory.bytesAt(buffer.address, 1)[0] ?? -1;
  }

  /** Submits one request and waits for it; returns its status byte. */
  async request(type: number, sector: number, ...data: readonly Buffer[]): Promise<number> {
    const status = this.status();
    this.queue.submit([this.header(type, sector), ...data, status]);
    await this.board.context.inputs.flush();
    return this.statusOf(status);
  }
}

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + seed) & 0xff);
}

function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, sector, true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}

describe("virtio block", () => {
  it("tells capacity, limits and block sizes", () => {
    const { driver } = new Machine();
    expect(driver.deviceConfig(0, 4)).toBe(2048);
    expect(driver.deviceConfig(4, 4)).toBe(0);
    expect(driver.deviceConfig(12, 4)).toBe(254);
    expect(driver.deviceConfig(20, 4)).toBe(512);
    expect(driver.deviceConfig(24, 1)).toBe(3);
    expect(driver.deviceConfig(60, 4)).toBe(0);
    expect(driver.offered()).toEqual([1, 2, 6, 9, 10, 11, 13, 14, INDIRECT, EVENT_INDEX, 32]);
  });

  it("writes and reads back", async () => {
    const machine = new Machine();
    const bytes = pattern(4096, 1);
    expect(await machine.request(TYPE.out, 8, machine.data(bytes))).toBe(0);
    expect(machine.disk.bytes.subarray(4096, 8192)).toEqual(bytes);
    expect(machine.queue.collect()).toEqual([{ id: 0, length: 1 }]);
    const target = machine.data(4096);
    expect(await machine.request(TYPE.in, 8, target)).toBe(0);
    expect(machine.board.context.memory.bytesAt(target.address, 4096)).toEqual(bytes);
    expect(machine.queue.collect()).toEqual([{ id: 3, length: 4097 }]);
    expect(machine.disk.log).toEqual(["write 4096 4096", "read 4096 4096"]);
  });

  it("serves requests cut into any buffers, directly and indirectly", async () => {
    const machine = new Machine([FLUSH, INDIRECT, EVENT_INDEX]);
    const bytes = pattern(1024, 2);
    const address = machine.header(TYPE.out, 2).address;
    const cut = (start: number, length: number): Buffer => machine.data(bytes.subarray(start, start + length));
    const status = machine.status();
    machine.queue.addIndirect([
      { address, length: 5 },
      { address: address + 5, length: 11 },
      cut(0, 1),
      cut(1, 700),
      cut(701, 323),
      status,
    ]);
    machine.queue.notify();
    await machine.board.context.inputs.flush();
    expect(machine.statusOf(status)).toBe(0);
    expect(machine.disk.bytes.subarray(1024, 2048)).toEqual(bytes);

    // Data and status share one buffer; the status is its last byte.
    const whole = machine.data(513);
    machine.queue.submit([machine.header(TYPE.in, 2), whole]);
    await machine.board.context.inputs.flush();
    const answer = machine.board.context.memory.bytesAt(whole.address, 513);
    expect(answer.subarray(0, 512)).toEqual(bytes.subarray(0, 512));
    expect(answer[512]).toBe(0);
  });

  it("reads RAM when a write is submitted and writes it when a read is delivered", async () => {
    const machine = new Machine();
    machine.disk.held = true;
    const source = machine.data(pattern(512, 3));
    machine.queue.submit([machine.header(TYPE.out, 0), source, machine.status()]);
    machine.board.put(source.address, new Uint8Array(512));
    machine.disk.release();
    await machine.board.context.inputs.flush();
    expect(machine.disk.bytes.subarray(0, 512)).toEqual(pattern(512, 3));
  });

  it("interrupts when a request completes, not when it is submitted", async () => {
    const machine = new Machine();
    machine.disk.held = true;
    machine.queue.submit([machine.header(TYPE.in, 0), machine.data(512), machine.status()]);
    expect(machine.board.context.irqLevel(GSI)).toBe(false);
    machine.disk.release();
    await machine.board.context.inputs.flush();
    expect(machine.board.context.irqLevel(GSI)).toBe(true);
  });

  it("flushes the disk, once for each request", async () => {
    const machine = new Machine();
    expect(await machine.request(TYPE.flush, 0)).toBe(0);
    expect(machine.disk.log).toEqual(["flush"]);
  });

  it("makes each write durable for a driver that does not flush, or asked for write-through", async () => {
    const plain = new Machine([]);
    await plain.request(TYPE.out, 0, plain.data(pattern(512, 4)));
    expect(plain.disk.log).toEqual(["write 0 512", "flush"]);
    const cached = new Machine([FLUSH, CONFIG_WCE]);
    expect(cached.driver.deviceConfig(32, 1)).toBe(1);
    await cached.request(TYPE.out, 0, cached.data(pattern(512, 4)));
    cached.board.mmio.write(cached.driver.structure(4) + 32, 1, 0);
    await cached.request(TYPE.out, 1, cached.data(pattern(512, 4)));
    expect(cached.disk.log).toEqual(["write 0 512", "write 512 512", "flush"]);
  });

  it("tells its identity", async () => {
    const machine = new Machine();
    const target = machine.data(20);
    expect(await machine.request(TYPE.getId, 0, target)).toBe(0);
    expect(machine.board.text(target.address, 20)).toBe("memory-disk".padEnd(20, "\0"));
    expect(await machine.request(TYPE.getId, 0, machine.data(19))).toBe(1);
  });

  it("zeroes and discards ranges", async () => {
    const machine = new Machine();
    machine.disk.bytes.fill(0xaa);
    const zeroes = machine.data(Uint8Array.from([...range(1, 2), ...range(8, 1, 1)]));
    expect(await machine.request(TYPE.writeZeroes, 0, zeroes)).toBe(0);
    expect(await machine.request(TYPE.discard, 0, machine.data(range(16, 8)))).toBe(0);
    expect(machine.disk.log).toEqual(["zero 512 1024", "zero 4096 512", "discard 8192 4096"]);
    expect(machine.disk.bytes[511]).toBe(0xaa);
    expect(machine.disk.bytes.subarray(512, 1536).every((byte) => byte === 0)).toBe(true);
  });

  it.each([
    ["an unknown type", 99, 0, 0, 2],
    ["a read past the end", TYPE.in, 2048, 512, 1],
    ["a read that runs past the end", TYPE.in, 2047, 1024, 1],
    ["a sector near 2^64", TYPE.in, 2 ** 63, 512, 1],
    ["a read of half a sector", TYPE.in, 0, 256, 1],
  ])("refuses %s without asking the disk", async (_what, type, sector, length, status) => {
    const machine = new Machine();
    expect(await machine.request(type, sector, ...(length === 0 ? [] : [machine.data(length)]))).toBe(status);
    expect(machine.disk.log).toEqual([]);
    expect(machine.driver.status & STATUS.needsReset).toBe(0);
  });

  it.each([
    ["unknown flags", range(0, 8, 2), TYPE.writeZeroes, 2],
    ["unmap in a discard", range(0, 8, 1), TYPE.discard, 2],
    ["a range past the end", range(2047, 2), TYPE.discard, 1],
    ["a range longer than allowed", range(0, 0xffff_ffff), TYPE.writeZeroes, 1],
    ["half a range", range(0, 8).subarray(0, 8), TYPE.discard, 1],
    ["too many ranges", new Uint8Array(17 * 16), TYPE.discard, 1],
  ])("refuses %s", async (_what, bytes, type, status) => {
    const machine = new Machine();
    expect(await machine.request(type, 0, machine.data(bytes))).toBe(status);
    expect(machine.disk.log).toEqual([]);
  });

  it("offers a read-only disk as such and fails every change", async () => {
    const machine = new Machine([FLUSH], new MemoryDisk(DISK_BYTES, true));
    expect(machine.driver.offered()).toEqual([1, 2, 5, 6, 9, 10, 11, INDIRECT, EVENT_INDEX, 32]);
    for (const type of [TYPE.out, TYPE.discard, TYPE.writeZeroes]) {
      expect(await machine.request(type, 0, machine.data(pattern(512, 5)))).toBe(1);
    }
    expect(machine.disk.log).toEqual([]);
  });

  it("fails requests whose disk fails, and says so in the log", async () => {
    const machine = new Machine();
    machine.disk.failing = true;
    expect(await machine.request(TYPE.in, 0, machine.data(512))).toBe(1);
    expect(machine.board.context.warnings[0]?.message).toContain("the disk is failing");
    machine.disk.failing = false;
    expect(await machine.request(TYPE.in, 0, machine.data(512))).toBe(0);
  });

  it("fails a request whose data lies outside RAM", async () => {
    const machine = new Machine();
    const nowhere = { address: 0xe000_0000, length: 512 };
    expect(await machine.request(TYPE.out, 0, nowhere)).toBe(1);
    expect(await machine.request(TYPE.in, 0, { ...nowhere, writable: true })).toBe(1);
    expect(machine.disk.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it.each([
    ["no status byte", (machine: Machine): Buffer[] => [machine.header(TYPE.flush, 0)]],
    ["a short header", (machine: Machine): Buffer[] => [{ ...machine.header(0, 0), length: 15 }, machine.status()]],
    ["a header outside RAM", (machine: Machine): Buffer[] => [{ address: 2 ** 40, length: 16 }, machine.status()]],
    [
      "a status byte outside RAM",
      (machine: Machine): Buffer[] => [machine.header(99, 0), { address: 2 ** 40, length: 1, writable: true }],
    ],
  ])("needs a reset after a request with %s", (_what, buffers) => {
    const machine = new Machine();
    machine.queue.submit(buffers(machine));
    expect(machine.driver.status & STATUS.needsReset).toBe(STATUS.needsReset);
    expect(machine.board.faults).toEqual([]);
  });

  it("drops what was in flight at a reset, and lets old writes finish before new ones start", async () => {
    const machine = new Machine();
    machine.disk.held = true;
    const oldStatus = machine.status();
    const target = machine.data(512);
    machine.queue.submit([machine.header(TYPE.out, 0), machine.data(pattern(512, 6)), oldStatus]);
    machine.queue.submit([machine.header(TYPE.in, 0), target, oldStatus]);
    const queue = machine.restart();
    const status = machine.status();
    queue.submit([machine.header(TYPE.out, 0), machine.data(pattern(512, 7)), status]);
    expect(machine.disk.log).toEqual(["write 0 512", "read 0 512"]);
    machine.disk.release();
    await machine.board.context.inputs.flush();
    expect(machine.statusOf(oldStatus)).toBe(0xee);
    expect(machine.statusOf(status)).toBe(0);
    expect(machine.board.context.memory.bytesAt(target.address, 512)).toEqual(new Uint8Array(512));
    expect(machine.disk.bytes.subarray(0, 512)).toEqual(pattern(512, 7));
    expect(queue.collect()).toEqual([{ id: 0, length: 1 }]);
  });

  it("keeps many requests in flight and completes them in the order the disk does", async () => {
    const machine = new Machine();
    machine.disk.held = true;
    const statuses = Array.from({ length: 80 }, (_, index) => {
      const status = machine.status();
      machine.queue.add([machine.header(TYPE.out, index), machine.data(pattern(512, index)), status]);
      return status;
    });
    machine.queue.notify();
    expect(machine.disk.log).toHaveLength(80);
    machine.disk.release();
    await machine.board.context.inputs.flush();
    expect(statuses.map((status) => machine.statusOf(status))).toEqual(new Array(80).fill(0));
    expect(machine.queue.collect()).toHaveLength(80);
    expect(machine.disk.bytes[79 * 512]).toBe(79);
  });

  it("takes up no more than a bounded amount of data at once, and the rest as that completes", async () => {
    const machine = new Machine([FLUSH, INDIRECT], new MemoryDisk(32 << 20));
    machine.disk.held = true;
    const page = machine.data(1 << 20);
    const parts = new Array<Buffer>(15).fill(page);
    for (let i = 0; i < 6; i++) machine.queue.addIndirect([machine.header(TYPE.in, 0), ...parts, machine.status()]);
    machine.queue.notify();
    expect(machine.disk.log).toHaveLength(3);
    machine.disk.release();
    await machine.board.context.inputs.flush();
    expect(machine.disk.log).toHaveLength(6);
    expect(machine.queue.collect()).toHaveLength(6);
  });

  it("refuses a request that is larger than any driver was told to send", async () => {
    const machine = new Machine([FLUSH], new MemoryDisk(32 << 20));
    const page = machine.data(1 << 20);
    expect(await machine.request(TYPE.in, 0, ...new Array<Buffer>(17).fill(page))).toBe(1);
    expect(machine.disk.log).toEqual([]);
  });

  it("carries requests out again that were in flight when the machine was saved", async () => {
    const machine = new Machine();
    machine.disk.held = true;
    const status = machine.status();
    const target = machine.data(512);
    machine.disk.bytes.set(pattern(512, 8), 1024);
    machine.queue.submit([machine.header(TYPE.in, 2), target, status]);
    const state = JSON.parse(JSON.stringify(machine.board.device.save())) as DeviceState;
    machine.disk.release();

    const resumed = new Machine([FLUSH], machine.disk);
    resumed.board.put(0, machine.board.context.memory.bytesAt(0, 4 << 20));
    resumed.board.device.load(state);
    expect(resumed.board.device.save()).toEqual(state);
    resumed.board.context.clock.advance(1);
    await resumed.board.context.inputs.flush();
    expect(resumed.statusOf(status)).toBe(0);
    expect(resumed.board.context.memory.bytesAt(target.address, 512)).toEqual(pattern(512, 8));
    expect(resumed.board.getWord(machine.queue.used + 2)).toBe(1);
    expect(resumed.board.context.irqLevel(GSI)).toBe(true);
  });
});
