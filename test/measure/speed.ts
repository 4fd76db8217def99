/**
 * Guest instructions per second by kind of code, and the cost of a port access answered by a device in TypeScript, on
 * guests that do nothing else.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vm, type VmStats } from "vmdeck";
import { LONG_MODE_MEMORY } from "../guest/long-mode.js";
import { PORT_LOOPS, WORKLOADS, type Workload } from "../guest/workloads.js";
import type { Figure } from "./figure.js";
import { median } from "./host.js";

const CALIBRATION_TURNS = 20_000;
/** Time a measured run is to take. */
const RUN_MS = 1000;
const RUNS = 3;
const PORT_TURNS = 1_000_000;

export async function measureKinds(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const workload of WORKLOADS) {
    const { runMs } = await run(workload, CALIBRATION_TURNS);
    const turns = Math.min(2 ** 31 - 1, Math.ceil((CALIBRATION_TURNS * RUN_MS) / runMs));
    const speeds: number[] = [];
    for (let count = 0; count < RUNS; count++) {
      const stats = await run(workload, turns);
      speeds.push(stats.instructions / stats.runMs / 1000);
    }
    figures.push({ name: workload.name, value: median(speeds), unit: "million instructions/s" });
  }
  return figures;
}

export async function measurePorts(): Promise<Figure[]> {
  const timeOf = async (workload: Workload) => {
    const times: number[] = [];
    for (let count = 0; count < RUNS; count++) times.push((await run(workload, PORT_TURNS)).runMs);
    return median(times);
  };
  const [none, read, write] = [
    await timeOf(PORT_LOOPS.none),
    await timeOf(PORT_LOOPS.in),
    await timeOf(PORT_LOOPS.out),
  ];
  const cost = (name: string, milliseconds: number): Figure => ({
    name,
    value: ((milliseconds - none) * 1e6) / PORT_TURNS,
    unit: "ns",
    goal: "at most 200 ns",
  });
  return [cost("port read in TypeScript", read), cost("port write in TypeScript", write)];
}

async function run(workload: Workload, turns: number): Promise<VmStats> {
  const directory = await mkdtemp(join(tmpdir(), "vmdeck-measure-"));
  try {
    const kernel = join(directory, "kernel");
    await writeFile(kernel, workload.kernel(turns));
    const vm = await Vm.run({ kernel, memory: LONG_MODE_MEMORY, devices: ["isa-debug-exit"] });
    const exit = await vm.wait();
    if (exit.kind !== "exit") throw new Error(`${workload.name}: the guest ended by ${exit.kind}`);
    return exit.stats;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
