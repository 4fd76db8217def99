/**
 * What a guest at its shell prompt costs the host: processor time, and memory beyond the guest RAM it has touched.
 */
import { setTimeout as pause } from "node:timers/promises";
import { Vm } from "vmdeck";
import type { Figure } from "./figure.js";
import { cpuSeconds, HOME, PROMPT, residentBytes } from "./host.js";

const MEMORY_BYTES = 512 << 20;
const BOOT_PATIENCE_MS = 240_000;
/** After its first prompt a guest still has something to finish. */
const SETTLE_MS = 5_000;
const WATCH_MS = 20_000;

export async function measureIdle(): Promise<Figure[]> {
  const onProgress = (line: string) => console.error(line);
  await using vm = await Vm.run({ image: "mini", home: HOME, memory: MEMORY_BYTES }, { onProgress });
  await vm.serial.waitFor(PROMPT, { timeoutMs: BOOT_PATIENCE_MS });
  await pause(SETTLE_MS);
  const [before, start] = [await cpuSeconds(vm.pid), performance.now()];
  await pause(WATCH_MS);
  const [after, end] = [await cpuSeconds(vm.pid), performance.now()];
  const resident = await residentBytes(vm.pid, MEMORY_BYTES);
  return [
    {
      name: "idle at the shell prompt",
      value: ((after - before) / ((end - start) / 1000)) * 100,
      unit: "% of a core",
      goal: "at most 2 %",
    },
    {
      name: "memory beyond touched guest RAM",
      value: (resident.all - resident.mapping) / 2 ** 20,
      unit: "MiB",
      goal: "at most 80 MiB",
    },
    { name: "touched guest RAM", value: resident.mapping / 2 ** 20, unit: "MiB" },
  ];
}
