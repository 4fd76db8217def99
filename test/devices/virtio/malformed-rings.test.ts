import { describe, expect, it } from "vitest";
import { VirtioBlock } from "../../../src/devices/virtio/block.js";
import { VirtioConsole } from "../../../src/devices/virtio/console.js";
import type { VirtioModel } from "../../../src/devices/virtio/model.js";
import { VirtioRng } from "../../../src/devices/virtio/rng.js";
import type { VirtualContext } from "../virtual-context.js";
import { Board, Driver, EVENT_INDEX, INDIRECT, randomSource } from "./driver.js";
import { MemoryDisk } from "./memory-disk.js";

const RINGS = 10_000;
const RAM_BYTES = 1 << 18;
const MAX_QUEUE_SIZE = 8;
const MAX_CHAIN = 1024;
/** More copies than this for one ring would be work without a bound: five batches of the longest chains. */
const MAX_COPIES = 5 * MAX_QUEUE_SIZE * MAX_CHAIN;
/** Memory that devices may read and must not write. */
const ROM = { base: 0xe000_0000, bytes: 0x1_0000 } as const;

type Random = (limit: number) => number;

/** A value that is likely to hurt: mostly small and in range, sometimes at an edge, sometimes anything. */
function nastyAddress(random: Random): number {
  switch (random(8)) {
    case 0:
      return random(2 ** 32) * 2 ** 20 + random(2 ** 20);
    case 1:
      return RAM_BYTES - random(64);
    case 2:
      return random(2) === 0 ? 0xb000_0000 + random(0x5000_0000) : ROM.base + random(ROM.bytes);
    case 3:
      return 2 ** 52 - random(16);
    default:
      return random(RAM_BYTES);
  }
}

function nastyLength(random: Random): number {
  const limits = [2, 17, 513, 4097, 2 ** 16, 2 ** 32];
  return random(limits[random(limits.length)] ?? 1);
}

/** Random descriptors, and behind each with even index a chance of a plausible block header or indirect table. */
function randomRing(random: Random, size: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * size));
  for (let at = 0; at < view.byteLength; at += 16) {
    const address = nastyAddress(random);
    view.setUint32(at, address % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(at + 8, random(3) === 0 ? 16 * (1 + random(8)) : nastyLength(random), true);
    view.setUint16(at + 12, random(4) === 0 ? random(0x1_0000) : random(8), true);
    view.setUint16(at + 14, random(8) === 0 ? random(0x1_0000) : random(size), true);
  }
  return new Uint8Array(view.buffer);
}

function fillWithNoise(board: Board, random: Random): void {
  const noise = new Uint8Array(RAM_BYTES);
  const words = new DataView(noise.buffer);
  for (let at = 0; at < RAM_BYTES; at += 16) words.setUint32(at, random(16), true);
  board.put(0, noise);
}

describe.each<[string, number, (context: VirtualContext) => VirtioModel]>([
  ["entropy", 1, (context) => new VirtioRng(context)],
  ["console", 2, (context) => new VirtioConsole(context, { write: () => {} })],
  ["block", 1, (context) => new VirtioBlock(context, new MemoryDisk(1 << 16))],
])("malformed rings of the %s device", (_name, queues, makeModel) => {
  it(`survives ${RINGS} random ones: no throw, bounded work, nothing outside RAM`, { timeout: 120_000 }, async () => {
    const board = new Board(makeModel, { memoryBytes: RAM_BYTES });
    const driver = new Driver(board);
    const random = randomSource(0xbad_5eed);
    const { memory } = board.context;
    const rom = memory.addRegion(ROM.base, ROM.bytes, false).fill(0xc5);
    let copies = 0;
    const { read, write } = memory;
    memory.read = (address, target) => {
      copies += 1;
      return read.call(memory, address, target);
    };
    memory.write = (address, source) => {
      copies += 1;
      return write.call(memory, address, source);
    };
    let answered = 0;
    for (let ring = 0; ring < RINGS; ring++) {
      if (ring % 64 === 0) fillWithNoise(board, random);
      const features = [INDIRECT, EVENT_INDEX].filter(() => random(2) === 0);
      driver.negotiate(features);
      const size = 1 << random(Math.log2(MAX_QUEUE_SIZE) + 1);
      const areas = [0, 0, 0].map((_, index) => {
        const anywhere = random(8) === 0;
        return anywhere ? nastyAddress(random) & ~15 : 0x4000 * (1 + index) + 16 * random(64);
      });
      for (let index = 0; index < queues; index++) {
        driver.setCommon(0x16, 2, index);
        driver.setCommon(0x18, 2, size);
        driver.setQueueAddresses(areas[0] ?? 0, areas[1] ?? 0, areas[2] ?? 0);
        driver.setCommon(0x1c, 2, 1);
      }
      board.context.memory.write(areas[0] ?? 0, randomRing(random, size));
      const available = new Uint8Array(6 + 2 * size).map(() => (random(8) === 0 ? random(256) : random(size)));
      available[2] = random(4) === 0 ? random(256) : random(size + 1);
      available[3] = random(16) === 0 ? random(256) : 0;
      for (let at = 5; at < available.length; at += 2) available[at] = random(16) === 0 ? random(256) : 0;
      board.context.memory.write(areas[1] ?? 0, available);
      copies = 0;
      driver.ready();
      if (queues > 1) board.context.inputs.send("console0", "typed");
      for (let index = 0; index < queues; index++) board.mmio.write(driver.structure(2) + 4 * index, 2, index);
      board.context.clock.advance(1);
      await board.context.inputs.flush();
      expect(copies).toBeLessThan(MAX_COPIES);
      if (driver.readIsr() !== 0) answered += 1;
    }
    expect(board.faults).toEqual([]);
    expect(rom.every((byte) => byte === 0xc5)).toBe(true);
    expect(answered).toBeGreaterThan(RINGS / 10);
  });
});
