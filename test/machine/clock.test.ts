import { expect, test } from "vitest";
import { type ClockAnchor, MAX_DRIFT_NS, MachineClock, NOMINAL_PS_PER_INSTRUCTION } from "../../src/machine/clock.js";
import { FakeEngine } from "./fake-engine.js";

/** A clock whose host runs at `host.time`, and a guest that retires instructions when told. */
function setUp(deterministic = false) {
  const engine = new FakeEngine();
  const host = { time: 5_000_000 };
  const anchors: ClockAnchor[] = [];
  const clock = new MachineClock({
    engine,
    ...(deterministic ? {} : { hostNs: () => host.time }),
    onAnchor: (anchor) => anchors.push(anchor),
    onFault: (device, error) => {
      throw new Error(device, { cause: error });
    },
  });
  clock.start();
  const run = (instructions: number) => {
    engine.script = () => ({ kind: 6, instructions });
    engine.run(0, instructions, Number.POSITIVE_INFINITY);
  };
  return { engine, host, clock, anchors, run };
}

test("guest time starts at zero and passes by instructions between looks", () => {
  const { clock, run } = setUp();
  expect(clock.nowNs()).toBe(0);
  run(1000);
  expect(clock.nowNs()).toBe((1000 * NOMINAL_PS_PER_INSTRUCTION) / 1000);
});

test("drift within 200 us begins no new piece", () => {
  const { clock, host, anchors, run } = setUp();
  run(32_768);
  host.time += 327_680 + MAX_DRIFT_NS;
  clock.look();
  expect(anchors).toHaveLength(1);
});

test("a guest that is behind is set to host time", () => {
  const { clock, host, anchors, run } = setUp();
  run(32_768);
  host.time += 327_680 + MAX_DRIFT_NS + 1;
  clock.look();
  expect(anchors).toHaveLength(2);
  expect(clock.nowNs()).toBe(327_680 + MAX_DRIFT_NS + 1);
});

test("a guest that is ahead is slowed, never set back, until the wall has caught up", () => {
  const { clock, host, anchors, run } = setUp();
  run(100_000);
  host.time += 500_000;
  clock.look();
  const slowed = anchors.at(-1);
  expect(slowed?.ns).toBe(1_000_000);
  expect(slowed?.picosecondsPerInstruction).toBeLessThan(NOMINAL_PS_PER_INSTRUCTION);
  host.time = 5_000_000 + 1_000_100;
  run(1);
  clock.look();
  expect(anchors.at(-1)?.picosecondsPerInstruction).toBeGreaterThan(slowed?.picosecondsPerInstruction ?? 0);
});

test.each([2_000, 10_000, 70_000])(
  "the slope comes to follow a host of %i ps per instruction, with few pieces",
  (speed) => {
    const { clock, host, anchors, run } = setUp();
    const quantum = () => {
      run(32_768);
      host.time += (32_768 * speed) / 1000;
      clock.look();
    };
    for (let i = 0; i < 2_000; i++) quantum();
    const pieces = anchors.length;
    for (let i = 0; i < 2_000; i++) quantum();
    expect(anchors.length - pieces).toBeLessThan(20);
    expect(Math.abs(clock.nowNs() - (host.time - 5_000_000))).toBeLessThanOrEqual(MAX_DRIFT_NS);
  },
);

test("guest time never goes back and stays near the wall on a host of changing speed", () => {
  const { clock, host, run } = setUp();
  let last = 0;
  let seed = 12345;
  for (let i = 0; i < 20_000; i++) {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    run(1 + (seed % 32_768));
    host.time += seed % 7 === 0 ? 2_000_000 : seed % 300_000;
    clock.look();
    expect(clock.nowNs()).toBeGreaterThanOrEqual(last);
    last = clock.nowNs();
  }
  expect(Math.abs(last - (host.time - 5_000_000))).toBeLessThan(20_000_000);
});

test("a timer's deadline limits the run, and an overdue one leaves room for progress", () => {
  const { clock, run } = setUp();
  expect(clock.runDeadlineNs).toBe(Number.POSITIVE_INFINITY);
  const timer = clock.timer("t", () => {});
  timer.arm(50_000);
  expect(clock.runDeadlineNs).toBe(50_000);
  run(100_000);
  expect(clock.runDeadlineNs).toBeGreaterThan(clock.nowNs());
});

test("idle time is waited for on the host and reached on resume", () => {
  const { clock, host } = setUp();
  expect(clock.waitNs(3_000_000)).toBe(3_000_000);
  host.time += 3_100_000;
  expect(clock.waitNs(3_000_000)).toBeLessThan(0);
  clock.resume(3_000_000);
  expect(clock.nowNs()).toBe(3_100_000);
});

test("a deterministic clock has one slope, ignores the host, and jumps over idle time", () => {
  const { clock, host, anchors, run } = setUp(true);
  run(50_000);
  host.time += 1e9;
  clock.look();
  expect(anchors).toEqual([{ ns: 0, picosecondsPerInstruction: NOMINAL_PS_PER_INSTRUCTION }]);
  expect(clock.waitNs(1e12)).toBe(0);
  clock.resume(7_000_000);
  expect(clock.nowNs()).toBe(7_000_000);
  run(100);
  expect(clock.nowNs()).toBe(7_000_000 + (100 * NOMINAL_PS_PER_INSTRUCTION) / 1000);
});
