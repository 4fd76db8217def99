/**
 * Boot to the shell prompt, from the start of the program, in turns with QEMU's TCG on the same kernel and initramfs,
 * where the host has it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Figure } from "./figure.js";
import { BIN, HOME, median, PROMPT } from "./host.js";

const BOOTS = 5;
const QEMU = "qemu-system-x86_64";
const MACHINE = ["-accel", "tcg", "-M", "q35", "-cpu", "Nehalem", "-m", "512", "-nographic", "-no-reboot"];

export async function measureBoots(): Promise<Figure[]> {
  const image = join(HOME, "images", "mini");
  const { append } = JSON.parse(await readFile(join(image, "manifest.json"), "utf8")) as { append: string };
  const files = ["-kernel", join(image, "kernel"), "-initrd", join(image, "initrd"), "-append", append];
  const hasQemu = spawnSync(QEMU, ["--version"], { stdio: "ignore" }).status === 0;
  const own: number[] = [];
  const others: number[] = [];
  for (let count = 0; count < BOOTS; count++) {
    own.push(await secondsToPrompt(process.execPath, [BIN, "run", "mini", "--home", HOME]));
    if (hasQemu) others.push(await secondsToPrompt(QEMU, [...MACHINE, ...files]));
  }
  const figure = (name: string, values: readonly number[]): Figure => ({ name, value: median(values), unit: "s" });
  const figures = [figure(`boot to shell (median of ${BOOTS})`, own)];
  if (hasQemu) figures.push(figure(`boot to shell, ${QEMU} -accel tcg`, others));
  else console.error(`${QEMU} is not installed: nothing to compare with`);
  return figures;
}

/** Starts a program and stops it when its guest's shell prompts; the time it took, in seconds. */
async function secondsToPrompt(program: string, args: readonly string[]): Promise<number> {
  const start = performance.now();
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
  try {
    await prompted(child);
    return (performance.now() - start) / 1000;
  } finally {
    const gone = new Promise((resolve) => child.once("close", resolve));
    if (child.exitCode === null && child.kill("SIGTERM")) await gone;
  }
}

function prompted(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.on("error", reject);
    child.on("close", (status) =>
      reject(new Error(`ended with status ${status} before the prompt: ${text.slice(-300)}`)),
    );
    child.stdout?.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      if (text.includes(PROMPT)) resolve();
    });
  });
}
