import { expect, test } from "vitest";
import { MmioBus } from "../../src/bus/mmio.js";
import { PortBus } from "../../src/bus/ports.js";
import { VmError } from "../../src/errors.js";
import { MachineClock } from "../../src/machine/clock.js";
import { MachineInputs } from "../../src/machine/inputs.js";
import { PowerRequests } from "../../src/machine/power.js";
import { QUANTUM, RunLoop } from "../../src/machine/run-loop.js";
import { EXIT } from "../../src/native/engine.js";
import { FakeEngine, type ScriptedExit } from "./fake-engine.js";
import { FakePace } from "./fake-pace.js";

interface SetUp {
  readonly seed?: number;
  readonly onReset?: "restart" | "exit";
  readonly reboot?: () => Promise<void>;
}

/** A run loop around a scripted engine; the script's last exit repeats unless it ends the machine. */
function setUp({ seed, onReset = "restart", reboot = async () => {} }: SetUp = {}) {
  const engine = new FakeEngine();
  const pace = new FakePace();
  const power = new PowerRequests();
  const faults: string[] = [];
  const log: string[] = [];
  const onFault = (device: string) => void faults.push(device);
  const inputs = new MachineInputs({
    ...(seed === undefined ? {} : { seed }),
    position: () => engine.exit.instructions,
    onArrival: () => pace.wake(),
    onFault,
  });
  const clock = new MachineClock({
    engine,
    ...(seed === undefined ? { hostNs: () => pace.time } : {}),
    onAnchor: () => {},
    onFault,
  });
  const ports = new PortBus(onFault);
  const mmio = new MmioBus(onFault);
  const state: { backlog: Promise<void> | undefined } = { backlog: undefined };
  const loop = new RunLoop(
    {
      engine,
      ports,
      mmio,
      clock,
      inputs,
      power,
      pace,
      acknowledge: () => 0x31,
      endOfInterrupt: (vector) => log.push(`eoi ${vector}`),
      reboot: async () => {
        log.push("reboot");
        await reboot();
      },
      backlog: () => state.backlog,
      onFault,
      onReset: (reason) => log.push(`reset ${reason}`),
    },
    { onReset },
  );
  const play = (...exits: readonly (ScriptedExit | (() => ScriptedExit))[]) => {
    let next = 0;
    engine.script = () => {
      const exit = exits[next++];
      if (exit === undefined) power.powerOff();
      return typeof exit === "function" ? exit() : (exit ?? { kind: EXIT.budget, instructions: 1 });
    };
  };
  return { engine, pace, power, faults, log, inputs, clock, ports, mmio, loop, play, state };
}

/** A port device that remembers writes and answers reads with a number. */
function device(name: string, answer: number) {
  const writes: [number, number, number][] = [];
  return {
    name,
    writes,
    readPort: () => answer,
    writePort: (port: number, size: number, value: number) => void writes.push([port, size, value]),
    readMmio: (offset: number) => answer + offset,
    writeMmio: (offset: number, size: number, value: number) => void writes.push([offset, size, value]),
  };
}

test("port accesses reach their device and the answer goes back", async () => {
  const { engine, ports, loop, play } = setUp();
  const uart = device("uart", 0x60);
  ports.claim(0x3f8, 8, uart);
  play(
    { kind: EXIT.io, isWrite: true, size: 1, address: 0x3f8, dataLow: 0x41 },
    { kind: EXIT.io, size: 1, address: 0x3fd },
    { kind: EXIT.io, size: 4, address: 0x1000 },
  );
  expect(await loop.run()).toEqual({ kind: "powerOff" });
  expect(uart.writes).toEqual([[0x3f8, 1, 0x41]]);
  expect(engine.answers).toEqual([
    { low: 0x60, high: 0 },
    { low: 0xffff_ffff, high: 0 },
  ]);
});

test("memory accesses of 8 bytes reach their device as two halves", async () => {
  const { engine, mmio, loop, play } = setUp();
  const bar = device("bar", 0x100);
  mmio.claim(0xc000_0000, 0x1000, bar);
  play(
    { kind: EXIT.mmio, size: 8, address: 0xc000_0010 },
    { kind: EXIT.mmio, isWrite: true, size: 8, address: 0xc000_0020, dataLow: 7, dataHigh: 9 },
    { kind: EXIT.mmio, size: 2, address: 0xc000_0030 },
  );
  await loop.run();
  expect(engine.answers).toEqual([
    { low: 0x110, high: 0x114 },
    { low: 0x130, high: 0 },
  ]);
  expect(bar.writes).toEqual([
    [0x20, 4, 7],
    [0x24, 4, 9],
  ]);
});

test("interrupt acknowledge and end of interrupt go to their controllers", async () => {
  const { engine, log, loop, play } = setUp();
  play({ kind: EXIT.intack }, { kind: EXIT.eoi, detail: 0x51 });
  await loop.run();
  expect(engine.answers).toEqual([{ low: 0x31, high: 0 }]);
  expect(log).toEqual(["eoi 81"]);
});

test("a triple fault and an engine's error end the machine with a dump", async () => {
  const shutdown = setUp();
  shutdown.play({ kind: EXIT.shutdown });
  expect(await shutdown.loop.run()).toEqual({ kind: "crash", reason: "triple fault", dump: "RAX=0" });
  const error = setUp();
  error.play({ kind: EXIT.error });
  expect(await error.loop.run()).toEqual({ kind: "crash", reason: "engine: scripted error", dump: "RAX=0" });
});

test("a device that throws is reported, its access answered as by an empty bus, and the VM goes on", async () => {
  const { engine, ports, mmio, clock, inputs, faults, loop, play } = setUp();
  const bug = () => {
    throw new Error("bug");
  };
  ports.claim(0x70, 2, { name: "bad-port", readPort: bug, writePort: bug });
  mmio.claim(0xc000_0000, 16, { name: "bad-mmio", readMmio: bug, writeMmio: bug });
  clock.timer("bad-timer", bug).arm(0);
  inputs.onBytes("bad-input", bug, () => 0);
  inputs.send("bad-input", Uint8Array.of(1));
  play(
    { kind: EXIT.io, size: 1, address: 0x71 },
    { kind: EXIT.io, isWrite: true, size: 1, address: 0x70 },
    { kind: EXIT.mmio, size: 4, address: 0xc000_0000 },
  );
  expect(await loop.run()).toEqual({ kind: "powerOff" });
  expect(engine.answers).toEqual([
    { low: 0xff, high: 0 },
    { low: 0xffff_ffff, high: 0 },
  ]);
  expect(faults).toEqual(["bad-input", "bad-timer", "bad-port", "bad-port", "bad-mmio"]);
});

test("slices are a millisecond long and the host is looked at each quantum", async () => {
  const { engine, pace, power, loop } = setUp();
  let looks = 0;
  engine.script = ({ quantum }) => {
    expect(quantum).toBeLessThanOrEqual(QUANTUM);
    pace.time += 300_000;
    if (++looks === 40) power.powerOff();
    return { kind: EXIT.budget, instructions: quantum };
  };
  await loop.run();
  expect(pace.turns).toBe(10);
  expect(loop.stats().slices).toBe(10);
  expect(loop.stats().runMs).toBeCloseTo(12);
});

test("a guest of nothing but I/O yields too", async () => {
  const { engine, pace, power, loop } = setUp();
  engine.script = () => {
    pace.time += 10_000;
    if (pace.turns === 3) power.powerOff();
    return { kind: EXIT.io, size: 1, address: 0x80, isWrite: true };
  };
  await loop.run();
  expect(pace.turns).toBe(3);
  expect(engine.calls.length).toBeGreaterThan(300);
});

test("a timer bounds the run and fires when it is due", async () => {
  const { engine, clock, loop, power } = setUp();
  const fired: number[] = [];
  clock
    .timer("t", (nowNs) => {
      fired.push(nowNs);
      power.powerOff();
    })
    .arm(100_000);
  await loop.run();
  expect(engine.calls[0]?.deadlineNs).toBe(100_000);
  expect(fired).toEqual([100_000]);
});

test("a halted guest sleeps until its own timer, then goes on at that time", async () => {
  const { engine, pace, loop, play } = setUp();
  play({ kind: EXIT.hlt, wakeDeadlineNs: 5_000_000 });
  await loop.run();
  expect(pace.sleeps).toHaveLength(1);
  expect(pace.sleeps[0]).toBeGreaterThan(4_900_000);
  expect(engine.guestNs()).toBeGreaterThanOrEqual(5_000_000);
});

test("a halted guest sleeps no longer than to a device's timer", async () => {
  const { clock, pace, loop, power, play } = setUp();
  clock.timer("pit", () => power.exit(3)).arm(2_000_000);
  play({ kind: EXIT.hlt });
  expect(await loop.run()).toEqual({ kind: "exit", status: 3 });
  expect(Math.max(...pace.sleeps)).toBeLessThanOrEqual(2_000_000);
});

test("a halt too short to sleep for is skipped within the slice", async () => {
  const { engine, pace, loop, play } = setUp();
  play({ kind: EXIT.hlt, wakeDeadlineNs: 15_000 });
  await loop.run();
  expect(pace.sleeps).toEqual([]);
  expect(engine.guestNs()).toBeGreaterThanOrEqual(15_000);
});

test("a halted guest without a timer sleeps until something arrives", async () => {
  const { engine, inputs, pace, loop, play } = setUp();
  const received: number[] = [];
  inputs.onBytes(
    "serial0",
    (bytes) => received.push(...bytes),
    () => 0,
  );
  play({ kind: EXIT.hlt });
  pace.onTurn = () => {
    if (received.length > 0 || pace.sleeps.length !== 1) return;
    pace.time += 3_000_000;
    queueMicrotask(() => inputs.send("serial0", Uint8Array.of(65)));
  };
  await loop.run();
  expect(pace.sleeps).toEqual([Number.POSITIVE_INFINITY]);
  expect(received).toEqual([65]);
  expect(engine.guestNs()).toBeGreaterThanOrEqual(3_000_000);
});

test("an end from outside wakes a sleeping machine", async () => {
  const { pace, loop, play } = setUp();
  play({ kind: EXIT.hlt });
  pace.onTurn = () => queueMicrotask(() => loop.finish({ kind: "killed" }));
  expect(await loop.run()).toEqual({ kind: "killed" });
});

test("a reset starts the guest again, or ends the machine if so configured", async () => {
  const again = setUp();
  again.play(() => {
    again.power.reset("test");
    return { kind: EXIT.io, isWrite: true, address: 0xcf9 };
  });
  expect(await again.loop.run()).toEqual({ kind: "powerOff" });
  expect(again.engine.resets).toBe(1);
  expect(again.log).toEqual(["reboot", "reset test"]);
  expect(again.loop.stats().resets).toBe(1);

  const once = setUp({ onReset: "exit" });
  once.play(() => {
    once.power.reset("test");
    return { kind: EXIT.budget };
  });
  expect(await once.loop.run()).toEqual({ kind: "reset", reason: "test" });
  expect(once.engine.resets).toBe(0);
});

test("a guest that cannot be booted again is a crash with the reason", async () => {
  const reboot = () => Promise.reject(new VmError("VM_FILE_NOT_FOUND", "there is no kernel k"));
  const { power, loop, play } = setUp({ reboot });
  play(() => {
    power.reset("test");
    return { kind: EXIT.budget };
  });
  expect(await loop.run()).toMatchObject({ kind: "crash", reason: expect.stringContaining("VM_FILE_NOT_FOUND") });
});

test("the guest stands still while its output is not taken", async () => {
  const { engine, pace, loop, play, state } = setUp();
  let release = () => {};
  state.backlog = new Promise((resolve) => {
    release = () => {
      state.backlog = undefined;
      resolve();
    };
  });
  play();
  let runsBefore = -1;
  pace.onTurn = () => {
    runsBefore = engine.calls.length;
    release();
  };
  await loop.run();
  expect(runsBefore).toBe(0);
  expect(engine.calls.length).toBe(1);
});

test("a deterministic machine never sleeps for time and stands still for outside work", async () => {
  const { engine, inputs, pace, loop, play } = setUp({ seed: 1 });
  const results: [number, unknown][] = [];
  const note = (outcome: unknown) => results.push([engine.exit.instructions, outcome]);
  let finish = (_value: string) => {};
  play({ kind: EXIT.hlt, wakeDeadlineNs: 1e12 }, () => {
    inputs.whenDone(
      new Promise<string>((resolve) => {
        finish = resolve;
      }),
      note,
    );
    inputs.whenDone(Promise.resolve("second"), note);
    return { kind: EXIT.hlt, wakeDeadlineNs: 2e12 };
  });
  pace.onTurn = () => {
    if (engine.calls.length === 2) setTimeout(() => finish("first"), 5);
  };
  await loop.run();
  expect(pace.sleeps.every((ns) => ns === Number.POSITIVE_INFINITY)).toBe(true);
  expect(results).toEqual([
    [2, { ok: true, value: "first" }],
    [2, { ok: true, value: "second" }],
  ]);
  expect(engine.guestNs()).toBeLessThan(2e12);
});

test("a deterministic machine runs no further while outside work is under way", async () => {
  const { engine, inputs, loop, play } = setUp({ seed: 1 });
  const positions: number[] = [];
  play(
    () => {
      const work = new Promise((resolve) => setTimeout(resolve, 5));
      inputs.whenDone(work, () => positions.push(engine.exit.instructions));
      return { kind: EXIT.budget, instructions: 1 };
    },
    { kind: EXIT.budget, instructions: 1 },
    { kind: EXIT.budget, instructions: 1 },
  );
  await loop.run();
  expect(positions).toEqual([1]);
});
