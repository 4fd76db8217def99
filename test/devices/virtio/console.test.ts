import { describe, expect, it } from "vitest";
import type { DeviceState } from "../../../src/devices/device.js";
import { VirtioConsole } from "../../../src/devices/virtio/console.js";
import { Board, Driver, type DriverQueue, STATUS } from "./driver.js";

class Machine {
  readonly board: Board;
  readonly driver: Driver;
  #output = "";

  constructor() {
    this.board = new Board(
      (context) =>
        new VirtioConsole(context, {
          write: (bytes) => {
            this.#output += new TextDecoder().decode(bytes);
          },
        }),
    );
    this.driver = new Driver(this.board);
  }

  get output(): string {
    return this.#output;
  }

  start(): { receive: DriverQueue; transmit: DriverQueue } {
    const [receive, transmit] = this.driver.start([], 2);
    if (receive === undefined || transmit === undefined) throw new Error("the console has two queues");
    return { receive, transmit };
  }

  text(content: string): { address: number; length: number } {
    const address = this.board.allocate(content.length);
    this.board.put(address, content);
    return { address, length: content.length };
  }

  room(length: number): { address: number; length: number; writable: true } {
    return { address: this.board.allocate(length), length, writable: true };
  }
}

describe("virtio console", () => {
  it("sends what the driver transmits, whatever its buffers", () => {
    const machine = new Machine();
    const { transmit } = machine.start();
    transmit.submit([machine.text("hello, "), machine.text("wor"), machine.text("ld")]);
    transmit.submit([machine.text("!\n")]);
    expect(machine.output).toBe("hello, world!\n");
    expect(transmit.collect().map(({ length }) => length)).toEqual([0, 0]);
  });

  it("fills receive buffers with input and keeps what does not fit", () => {
    const machine = new Machine();
    const { receive } = machine.start();
    const first = machine.room(4);
    receive.submit([first]);
    machine.board.context.inputs.send("console0", "abcdef");
    expect(receive.collect()).toEqual([{ id: 0, length: 4 }]);
    expect(machine.board.text(first.address, 4)).toBe("abcd");
    machine.board.context.inputs.send("console0", "gh");
    const second = machine.room(16);
    receive.submit([second]);
    expect(receive.collect()).toEqual([{ id: 1, length: 4 }]);
    expect(machine.board.text(second.address, 4)).toBe("efgh");
  });

  it("keeps input that arrives before the driver is ready, and across its resets", () => {
    const machine = new Machine();
    machine.board.context.inputs.send("console0", "early");
    machine.driver.status = 0;
    const { receive } = machine.start();
    const buffer = machine.room(16);
    receive.submit([buffer]);
    expect(receive.collect()).toEqual([{ id: 0, length: 5 }]);
    expect(machine.board.text(buffer.address, 5)).toBe("early");
  });

  it("serves input again and again without a notification in between", () => {
    const machine = new Machine();
    const { receive } = machine.start();
    for (let i = 0; i < 32; i++) receive.add([machine.room(8)]);
    receive.notify();
    for (let i = 0; i < 32; i++) machine.board.context.inputs.send("console0", `${i}`);
    expect(receive.collect().map(({ length }) => length)).toEqual(Array.from({ length: 32 }, (_, i) => `${i}`.length));
  });

  it("writes emergency characters before any queue exists", () => {
    const machine = new Machine();
    for (const character of "oops")
      machine.board.mmio.write(machine.driver.structure(4) + 8, 4, character.charCodeAt(0));
    expect(machine.output).toBe("oops");
  });

  it("cuts an absurdly long transmit buffer instead of holding the machine up", () => {
    const machine = new Machine();
    const { transmit } = machine.start();
    const address = machine.board.allocate(1 << 20);
    transmit.submit(new Array(40).fill({ address, length: 1 << 20 }));
    expect(machine.output).toHaveLength(1 << 20);
    expect(machine.board.context.warnings).toHaveLength(1);
  });

  it.each([0, 1])("needs a reset after a buffer outside RAM in queue %i", (index) => {
    const machine = new Machine();
    const { receive, transmit } = machine.start();
    (index === 0 ? receive : transmit).submit([{ address: 0xe000_0000, length: 16, writable: index === 0 }]);
    machine.board.context.inputs.send("console0", "x");
    expect(machine.driver.status & STATUS.needsReset).toBe(STATUS.needsReset);
    expect(machine.board.faults).toEqual([]);
  });

  it("saves the input that nobody has read", () => {
    const machine = new Machine();
    machine.start();
    machine.board.context.inputs.send("console0", "kept");
    const state = JSON.parse(JSON.stringify(machine.board.device.save())) as DeviceState;
    const resumed = new Machine();
    resumed.board.device.load(state);
    expect(resumed.board.device.save()).toEqual(state);
    const { receive } = resumed.start();
    const buffer = resumed.room(8);
    receive.submit([buffer]);
    expect(resumed.board.text(buffer.address, 4)).toBe("kept");
  });
});
