/**
 * What every device on the port or memory bus must stand: any traffic a guest can make, and being saved and resumed.
 * Traffic is random but repeatable; the seed is part of the failure message.
 */
import { expect } from "vitest";
import type { AccessSize, MmioHandler, PortHandler } from "../../src/bus/access.js";
import type { Device, DeviceState } from "../../src/devices/device.js";
import type { VirtualContext } from "./virtual-context.js";

const SIZES: readonly AccessSize[] = [1, 2, 4];

/** Repeatable random numbers (xorshift32). */
export class TestRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  /** An integer in 0..limit-1. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % limit;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}

/** Makes `count` random accesses to the given ports, time passing now and then; every answer must fit its width. */
export function randomPortTraffic(
  device: PortHandler,
  ports: readonly number[],
  context: VirtualContext,
  seed: number,
  count = 100_000,
): void {
  const random = new TestRandom(seed);
  for (let i = 0; i < count; i++) {
    const port = random.pick(ports);
    const size = random.below(4) === 0 ? random.pick(SIZES) : 1;
    if (random.below(2) === 0) device.writePort(port, size, random.below(2 ** (8 * size)));
    else expectFits(device.readPort(port, size), size, `port 0x${port.toString(16)}, seed ${seed}, access ${i}`);
    if (random.below(8) === 0) context.clock.advance(random.below(20_000));
  }
}

/** As randomPortTraffic, for a memory-mapped device of `length` bytes. */
export function randomMmioTraffic(device: MmioHandler, length: number, seed: number, count = 100_000): void {
  const random = new TestRandom(seed);
  for (let i = 0; i < count; i++) {
    const size = random.pick(SIZES);
    const offset = random.below(length / size) * size;
    if (random.below(2) === 0) device.writeMmio(offset, size, random.below(2 ** (8 * size)));
    else expectFits(device.readMmio(offset, size), size, `offset 0x${offset.toString(16)}, seed ${seed}, access ${i}`);
  }
}

/** Saves `device` through text, loads a new one made by `recreate` from it, and returns that one: it must save the same. */
export function resume<D extends Device>(device: D, context: VirtualContext, recreate: () => D): D {
  const text = JSON.stringify(device.save());
  context.switchOff();
  const resumed = recreate();
  const state: DeviceState = JSON.parse(text);
  resumed.load(state);
  expect(JSON.stringify(resumed.save())).toBe(text);
  return resumed;
}

function expectFits(value: number, size: AccessSize, what: string): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size)) return;
  expect.fail(`read ${value} as ${size} bytes: ${what}`);
}
