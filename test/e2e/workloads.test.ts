/**
 * The measuring script's guests, briefly: each runs to its end in 64-bit mode, in as many instructions as it says.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Vm } from "../../src/control/vm.js";
import { PORT_LOOPS, WORKLOADS, type Workload } from "../guest/workloads.js";

const TURNS = 10_000;
/** Instructions around the loop: entering 64-bit mode, ending. */
const AROUND = 60;

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "vmdeck-e2e-"));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function run(workload: Workload) {
  const kernel = join(directory, workload.name.replaceAll(" ", "-"));
  writeFileSync(kernel, workload.kernel(TURNS));
  const vm = await Vm.run({ kernel, memory: "32MiB", devices: ["isa-debug-exit"], timeout: "60s" });
  return await vm.wait();
}

test.each(WORKLOADS.map((workload) => [workload.name, workload] as const))("%s", async (_name, workload) => {
  const exit = await run(workload);
  expect(exit).toMatchObject({ kind: "exit", status: 1 });
  const extra = exit.stats.instructions - TURNS * workload.instructionsPerTurn;
  expect(extra).toBeGreaterThan(0);
  expect(extra).toBeLessThan(AROUND);
});

test("port accesses leave the guest once each", async () => {
  const [none, read, written] = [await run(PORT_LOOPS.none), await run(PORT_LOOPS.in), await run(PORT_LOOPS.out)];
  expect((read.stats.exits.io ?? 0) - (none.stats.exits.io ?? 0)).toBe(TURNS);
  expect((written.stats.exits.io ?? 0) - (none.stats.exits.io ?? 0)).toBe(TURNS);
});
