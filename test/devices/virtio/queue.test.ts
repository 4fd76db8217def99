import { describe, expect, it } from "vitest";
import { type QueueHost, Virtqueue } from "../../../src/devices/virtio/queue.js";
import { VirtioRng } from "../../../src/devices/virtio/rng.js";
import {
  Board,
  type Buffer,
  Driver,
  type DriverQueue,
  describe16,
  EVENT_INDEX,
  GSI,
  INDIRECT,
  STATUS,
} from "./driver.js";

/** The entropy device writes whatever it is given: the plainest consumer of a ring. */
function started(
  features: readonly number[] = [],
  size?: number,
): { board: Board; driver: Driver; queue: DriverQueue } {
  const board = new Board((context) => new VirtioRng(context));
  const driver = new Driver(board);
  const [queue] = driver.start(features, 1, size);
  if (queue === undefined) throw new Error("the device has one queue");
  return { board, driver, queue };
}

function buffer(board: Board, length: number): Buffer {
  return { address: board.allocate(length), length, writable: true };
}

function needsReset(driver: Driver): boolean {
  return (driver.status & STATUS.needsReset) !== 0;
}

describe("split virtqueue", () => {
  it("uses chains in order, far past the ring's size and the index's wrap", () => {
    const { board, driver, queue } = started([], 4);
    const target = buffer(board, 8);
    for (let round = 0; round < 70_000; round++) {
      queue.submit([target]);
      if (round % 4 !== 3) continue;
      expect(queue.collect().map(({ length }) => length)).toEqual([8, 8, 8, 8]);
    }
    expect(needsReset(driver)).toBe(false);
  });

  it("takes a whole batch at one notification", () => {
    const { board, queue } = started();
    const heads = Array.from({ length: 8 }, () => queue.add([buffer(board, 4)]));
    queue.notify();
    expect(queue.collect().map(({ id }) => id)).toEqual(heads);
    expect(board.context.risingEdges(GSI)).toBe(1);
  });

  it("scatters one answer over all buffers of a chain, empty ones included", () => {
    const { board, queue } = started();
    const parts = [buffer(board, 3), { address: 0, length: 0, writable: true }, buffer(board, 5), buffer(board, 1)];
    queue.submit(parts);
    expect(queue.collect()).toEqual([{ id: 0, length: 9 }]);
    const joined = parts.flatMap(({ address, length }) => [...board.context.memory.bytesAt(address, length)]);
    expect(joined.some((byte) => byte !== 0)).toBe(true);
  });

  it("follows indirect tables, behind direct descriptors too", () => {
    const { board, driver, queue } = started([INDIRECT]);
    queue.addIndirect([buffer(board, 8), buffer(board, 8)], [{ address: board.allocate(16), length: 16 }]);
    queue.notify();
    expect(queue.collect()).toEqual([{ id: 0, length: 16 }]);
    expect(needsReset(driver)).toBe(false);
  });

  it("follows indirect tables that are longer than the queue", () => {
    const { board, queue } = started([INDIRECT], 4);
    queue.addIndirect(Array.from({ length: 60 }, () => buffer(board, 4)));
    queue.notify();
    expect(queue.collect()).toEqual([{ id: 0, length: 240 }]);
  });

  it("interrupts only where used_event asks for it", () => {
    const { board, driver, queue } = started([EVENT_INDEX]);
    const interrupted = (): boolean => driver.readIsr() !== 0;
    board.putWord(queue.usedEvent, 2);
    for (const expected of [false, false, true, false]) {
      queue.submit([buffer(board, 4)]);
      expect(interrupted()).toBe(expected);
    }
    board.putWord(queue.usedEvent, 5);
    for (let i = 0; i < 4; i++) queue.add([buffer(board, 4)]);
    queue.notify();
    expect(interrupted()).toBe(true);
  });

  it("asks through avail_event to be notified of the next chain", () => {
    const { board, queue } = started([EVENT_INDEX]);
    queue.add([buffer(board, 4)]);
    queue.add([buffer(board, 4)]);
    queue.notify();
    expect(board.getWord(queue.availableEvent)).toBe(2);
  });

  it("leaves the driver in peace while NO_INTERRUPT is set", () => {
    const { board, queue } = started();
    board.putWord(queue.available, 1);
    queue.submit([buffer(board, 4)]);
    expect(queue.collect()).toHaveLength(1);
    expect(board.context.irqLevel(GSI)).toBe(false);
  });

  it("takes at most a queue's size of chains in one batch, even from a ring that never ends", () => {
    let offered = 0;
    const endless: QueueHost = {
      memory: {
        read: (address, target) => {
          target.fill(0);
          if (address === 0x2000 && target.length > 2)
            new DataView(target.buffer, target.byteOffset).setUint16(2, ++offered & 0xffff, true);
          return true;
        },
        write: () => true,
      },
      indirectDescriptors: false,
      eventIndex: false,
      interrupt: () => {},
      fail: (reason) => expect.fail(reason),
    };
    const queue = new Virtqueue(0, 8, endless);
    Object.assign(queue.areas, { descriptors: 0x1000, available: 0x2000, used: 0x3000 });
    expect(queue.enable()).toBe(true);
    for (let batch = 0; batch < 3; batch++) {
      queue.beginBatch();
      let taken = 0;
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        taken += 1;
        queue.push(chain, 0);
        queue.publish();
      }
      expect(taken).toBe(8);
      expect(queue.cutShort).toBe(true);
    }
  });

  it("goes on at the next boundary after a batch that was cut short", () => {
    const { board, queue } = started([], 8);
    const target = buffer(board, 4);
    for (let i = 0; i < 8; i++) queue.add([target]);
    queue.notify();
    expect(queue.collect()).toHaveLength(8);
    expect(board.context.clock.armed()).toEqual(["virtio-rng-resume"]);
    queue.add([target]);
    board.context.clock.advance(1);
    expect(queue.collect()).toHaveLength(1);
    expect(board.context.clock.armed()).toEqual([]);
  });

  describe("breaks on what no driver may do", () => {
    const cases: readonly [string, (board: Board, queue: DriverQueue) => void][] = [
      ["a head outside the table", (_board, queue) => queue.offer(8)],
      [
        "a loop",
        (board, queue) => {
          const { address } = buffer(board, 4);
          queue.writeDescriptor(0, address, 4, 3, 1);
          queue.writeDescriptor(1, address, 4, 3, 0);
          queue.offer(0);
        },
      ],
      [
        "a successor outside the table",
        (board, queue) => {
          queue.writeDescriptor(0, board.allocate(4), 4, 3, 0xffff);
          queue.offer(0);
        },
      ],
      [
        "a readable buffer behind a writable one",
        (board, queue) => {
          queue.writeDescriptor(0, board.allocate(4), 4, 3, 1);
          queue.writeDescriptor(1, board.allocate(4), 4, 0);
          queue.offer(0);
        },
      ],
      [
        "an address past the physical address space",
        (_board, queue) => {
          queue.writeDescriptor(0, 2 ** 53, 4, 2);
          queue.offer(0);
        },
      ],
      [
        "a buffer outside RAM",
        (_board, queue) => {
          queue.writeDescriptor(0, 0xfee0_0000, 4, 2);
          queue.offer(0);
        },
      ],
      [
        "a buffer that runs out of RAM",
        (_board, queue) => {
          queue.writeDescriptor(0, (4 << 20) - 8, 4096, 2);
          queue.offer(0);
        },
      ],
      [
        "a buffer of 4 GiB",
        (_board, queue) => {
          queue.writeDescriptor(0, (4 << 20) - 4096, 0xffff_ffff, 2);
          queue.offer(0);
        },
      ],
      ["an available index that runs ahead", (board, queue) => board.putWord(queue.available + 2, 9)],
      [
        "an indirect table that has a successor",
        (board, queue) => {
          queue.writeDescriptor(0, board.allocate(16), 16, 5, 1);
          queue.offer(0);
        },
      ],
      [
        "an indirect table in an indirect table",
        (board, queue) => {
          const table = board.allocate(16);
          board.put(table, describe16(table, 16, 4, 0));
          queue.writeDescriptor(0, table, 16, 4);
          queue.offer(0);
        },
      ],
      [
        "an indirect table of half a descriptor",
        (board, queue) => {
          queue.writeDescriptor(0, board.allocate(32), 24, 4);
          queue.offer(0);
        },
      ],
      [
        "an empty indirect table",
        (board, queue) => {
          queue.writeDescriptor(0, board.allocate(32), 0, 4);
          queue.offer(0);
        },
      ],
      [
        "an indirect table outside RAM",
        (_board, queue) => {
          queue.writeDescriptor(0, 0xffff_fff0, 16, 4);
          queue.offer(0);
        },
      ],
      [
        "a loop in an indirect table",
        (board, queue) => {
          const table = board.allocate(16);
          board.put(table, describe16(table, 16, 3, 0));
          queue.writeDescriptor(0, table, 16, 4);
          queue.offer(0);
        },
      ],
    ];
    it.each(cases)("%s", (_what, spoil) => {
      const { board, driver, queue } = started([INDIRECT], 8);
      spoil(board, queue);
      queue.notify();
      expect(needsReset(driver)).toBe(true);
      expect(queue.collect()).toEqual([]);
      expect(board.context.warnings).toHaveLength(1);
      queue.notify();
      expect(board.context.warnings).toHaveLength(1);
      expect(board.faults).toEqual([]);
    });
  });

  it("breaks on an indirect table that was not negotiated", () => {
    const { board, driver, queue } = started();
    queue.addIndirect([buffer(board, 8)]);
    queue.notify();
    expect(needsReset(driver)).toBe(true);
  });

  it.each([
    ["descriptor table", [0xe000_0000, 0x10_0000, 0x11_0000]],
    ["available ring", [0x10_0000, 0xe000_0000, 0x11_0000]],
    ["used ring", [0x10_0000, 0x11_0000, 0xe000_0000]],
  ])("breaks when the %s is not in RAM", (_what, [descriptors = 0, available = 0, used = 0]) => {
    const board = new Board((context) => new VirtioRng(context));
    const driver = new Driver(board);
    driver.negotiate();
    driver.setCommon(0x16, 2, 0);
    driver.setQueueAddresses(descriptors, available, used);
    driver.setCommon(0x1c, 2, 1);
    board.putWord(0x10_0000 + 2, 1);
    board.putWord(0x11_0000 + 2, 1);
    driver.ready();
    expect(needsReset(driver)).toBe(true);
    expect(board.faults).toEqual([]);
  });
});
