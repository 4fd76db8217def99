import { describe, expect, it } from "vitest";
import { VirtioRng } from "../../../src/devices/virtio/rng.js";
import { Board, Driver } from "./driver.js";

describe("virtio entropy", () => {
  it("fills buffers from the machine's one source, so that a seed decides every byte", () => {
    const answer = (seed: number): Uint8Array => {
      const board = new Board((context) => new VirtioRng(context), { seed });
      const [queue] = new Driver(board).start();
      const address = board.allocate(64);
      queue?.submit([{ address, length: 64, writable: true }]);
      expect(queue?.collect()).toEqual([{ id: 0, length: 64 }]);
      return board.context.memory.bytesAt(address, 64);
    };
    expect(answer(1)).toEqual(answer(1));
    expect(answer(1)).not.toEqual(answer(2));
  });

  it("answers a huge request in part", () => {
    const board = new Board((context) => new VirtioRng(context));
    const [queue] = new Driver(board).start();
    queue?.submit([{ address: board.allocate(1 << 20), length: 1 << 20, writable: true }]);
    expect(queue?.collect()).toEqual([{ id: 0, length: 65_536 }]);
  });

  it("gives a request without room back empty", () => {
    const board = new Board((context) => new VirtioRng(context));
    const [queue] = new Driver(board).start();
    queue?.submit([{ address: board.allocate(16), length: 16 }]);
    expect(queue?.collect()).toEqual([{ id: 0, length: 0 }]);
  });
});
