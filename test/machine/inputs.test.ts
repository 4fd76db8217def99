import { expect, test } from "vitest";
import { MachineInputs, SEEDED_POWER_ON_MS } from "../../src/machine/inputs.js";

function setUp(seed?: number) {
  const at = { instructions: 0, arrivals: 0 };
  const faults: string[] = [];
  const inputs = new MachineInputs({
    ...(seed === undefined ? {} : { seed }),
    position: () => at.instructions,
    onArrival: () => {
      at.arrivals += 1;
    },
    onFault: (device) => faults.push(device),
  });
  return { inputs, at, faults };
}

const nothingWaits = () => 0;
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("nothing enters before the boundary, and what enters is stamped with the instruction", () => {
  const { inputs, at } = setUp();
  const received: string[] = [];
  inputs.onBytes("serial0", (bytes) => received.push(Buffer.from(bytes).toString()), nothingWaits);
  expect(inputs.send("serial0", Buffer.from("abc"))).toBe(true);
  inputs.request("power button", () => received.push("button"));
  expect(received).toEqual([]);
  expect(inputs.pending).toBe(true);
  expect(at.arrivals).toBe(2);
  at.instructions = 1234;
  inputs.deliver();
  expect(received).toEqual(["abc", "button"]);
  expect(inputs.pending).toBe(false);
  expect(inputs.log()).toEqual([
    { instructions: 1234, kind: "bytes", name: "serial0", amount: 3 },
    { instructions: 1234, kind: "request", name: "power button", amount: 0 },
  ]);
});

test("a sender waits while the guest leaves much unread, whether at the door or in the device", async () => {
  const { inputs } = setUp();
  let held = 0;
  inputs.onBytes(
    "serial0",
    (bytes) => {
      held += bytes.length;
    },
    () => held,
  );
  let resumed = 0;
  const wait = () => inputs.room("serial0").then(() => (resumed += 1));
  wait();
  await settled();
  expect(resumed).toBe(1);
  inputs.send("serial0", new Uint8Array(100_000));
  wait();
  inputs.deliver();
  inputs.deliver();
  await settled();
  expect(resumed).toBe(1);
  held = 10;
  inputs.deliver();
  await settled();
  expect(resumed).toBe(2);
  await inputs.room("serial9");
});

test("bytes for a channel without a device are refused", () => {
  expect(setUp().inputs.send("serial9", Uint8Array.of(1))).toBe(false);
});

test("outcomes of outside work wait for the boundary, errors included", async () => {
  const { inputs } = setUp();
  const outcomes: unknown[] = [];
  const failure = new Error("disk");
  inputs.whenDone(Promise.reject(failure), (outcome) => outcomes.push(outcome));
  inputs.whenDone(Promise.resolve(5), (outcome) => outcomes.push(outcome));
  await settled();
  expect(outcomes).toEqual([]);
  expect(inputs.blocked).toBe(false);
  inputs.deliver();
  expect(outcomes).toEqual([
    { ok: false, error: failure },
    { ok: true, value: 5 },
  ]);
});

test("a deterministic machine is blocked by outside work and gets results in order of submission", async () => {
  const { inputs } = setUp(1);
  const outcomes: unknown[] = [];
  let finish = () => {};
  inputs.whenDone(
    new Promise<void>((resolve) => {
      finish = resolve;
    }),
    () => outcomes.push("first"),
  );
  inputs.whenDone(Promise.resolve(), () => outcomes.push("second"));
  await settled();
  expect(inputs.blocked).toBe(true);
  expect(inputs.pending).toBe(false);
  finish();
  await settled();
  expect(inputs.blocked).toBe(false);
  inputs.deliver();
  expect(outcomes).toEqual(["first", "second"]);
});

test("a device that throws at an input is reported and stops no other", () => {
  const { inputs, faults } = setUp();
  const received: string[] = [];
  const bug = () => {
    throw new Error("bug");
  };
  inputs.onBytes("bad", bug, nothingWaits);
  inputs.onBytes("good", () => received.push("good"), nothingWaits);
  inputs.send("bad", Uint8Array.of(1));
  inputs.send("good", Uint8Array.of(1));
  inputs.deliver();
  expect(faults).toEqual(["bad"]);
  expect(received).toEqual(["good"]);
});

test("a seed fixes randomness and the wall clock; another seed gives other bytes", () => {
  const bytes = (seed: number) => {
    const { inputs } = setUp(seed);
    const pieces = [7, 64, 1, 1000].map((length) => new Uint8Array(length));
    for (const piece of pieces) inputs.random(piece);
    return Buffer.concat(pieces);
  };
  expect(bytes(42)).toEqual(bytes(42));
  expect(bytes(42)).not.toEqual(bytes(43));
  expect(bytes(0)).not.toEqual(bytes(2 ** 40));
  expect(setUp(1).inputs.wallClockAtPowerOnMs()).toBe(SEEDED_POWER_ON_MS);
});

test("seeded bytes are spread evenly", () => {
  const { inputs } = setUp(9);
  const bytes = new Uint8Array(256 * 400);
  inputs.random(bytes);
  const counts = new Array<number>(256).fill(0);
  for (const byte of bytes) counts[byte] = (counts[byte] ?? 0) + 1;
  const chiSquared = counts.reduce((sum, count) => sum + (count - 400) ** 2 / 400, 0);
  // 255 degrees of freedom: above 350 one stream in twenty thousand.
  expect(chiSquared).toBeLessThan(350);
});

test("without a seed randomness and wall clock are the host's", () => {
  const { inputs } = setUp();
  const bytes = new Uint8Array(64);
  inputs.random(bytes);
  expect(bytes.some((byte) => byte !== 0)).toBe(true);
  expect(Math.abs(inputs.wallClockAtPowerOnMs() - Date.now())).toBeLessThan(10_000);
});

test("the log keeps the newest entries", () => {
  const { inputs, at } = setUp(1);
  for (let i = 0; i < 3000; i++) {
    at.instructions = i;
    inputs.record("request", "r", i);
  }
  const log = inputs.log();
  expect(log).toHaveLength(1024);
  expect(log[0]?.amount).toBe(3000 - 1024);
  expect(log.at(-1)?.amount).toBe(2999);
});
