/**
 * What the measurements have in common: where things are, medians, and what the host's kernel says of a process (Linux,
 * Documentation/filesystems/proc.rst).
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** The compiled command line program, seen from dist/measure/measure. */
export const BIN = fileURLToPath(new URL("../../../bin/vmdeck.js", import.meta.url));
/** Where the image `mini` is, or is built. */
export const HOME = process.env.VMDECK_HOME ?? fileURLToPath(new URL("../../test-home", import.meta.url));
/** What the image's shell prints when it is ready. */
export const PROMPT = "mini:~# ";
/** USER_HZ, the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length - 1 - middle], sorted[middle]];
  return (low + high) / 2;
}

/** Processor time a process has used so far, user and system, in seconds. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1");
  // The second field, a name in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory of a process in bytes: all of it, and of the writable mapping that is exactly `bytes` long. */
export async function residentBytes(pid: number, bytes: number): Promise<{ all: number; mapping: number }> {
  const status = await readFile(`/proc/${pid}/status`, "latin1");
  const all = kilobytes(status, "VmRSS");
  const smaps = await readFile(`/proc/${pid}/smaps`, "latin1");
  const mappings = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const ram = mappings.find((text) => / rw/.test(text) && kilobytes(text, "Size") === bytes);
  if (ram === undefined) throw new Error(`process ${pid} has no mapping of ${bytes} bytes`);
  return { all, mapping: kilobytes(ram, "Rss") };
}

function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024;
}
