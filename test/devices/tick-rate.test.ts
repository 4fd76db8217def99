import { describe, expect, it } from "vitest";
import { TickRate } from "../../src/devices/tick-rate.js";
import { TestRandom } from "./port-traffic.js";

const exactTicks = (hz: number, ns: number) => Number((BigInt(ns) * BigInt(hz)) / 1_000_000_000n);
const exactNs = (hz: number, ticks: number) => Number((BigInt(ticks) * 1_000_000_000n + BigInt(hz) - 1n) / BigInt(hz));

describe("TickRate", () => {
  for (const hz of [1_193_182, 3_579_545, 32_768]) {
    it(`is exact at ${hz} Hz up to a hundred days`, () => {
      const rate = new TickRate(hz);
      const random = new TestRandom(hz);
      for (let i = 0; i < 20_000; i++) {
        const ns = random.below(2 ** 21) * 2 ** 32 + random.below(2 ** 32);
        const ticks = rate.ticksAt(ns);
        if (ticks !== exactTicks(hz, ns)) expect.fail(`ticks at ${ns} ns`);
        if (rate.nsAt(ticks) !== exactNs(hz, ticks)) expect.fail(`time of tick ${ticks}`);
        if (rate.ticksAt(rate.nsAt(ticks)) !== ticks) expect.fail(`tick ${ticks} there and back`);
      }
    });
  }
});
