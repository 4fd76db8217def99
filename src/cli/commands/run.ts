/**
 * `vmdeck run`: boots a VM with its serial console in this terminal (or in these pipes) and ends as it ends.
 */
import type { Command } from "commander";
import { Vm } from "../../control/vm.js";
import type { VmOptions } from "../../control/vm-options.js";
import type { VmEvent, VmExit, VmStats } from "../../control/vm-report.js";
import { assertNever, VmError } from "../../errors.js";
import type { CommandContext } from "../command-context.js";
import { statusOfExit } from "../exit-codes.js";
import { Interruption } from "../interruption.js";
import { errorAsJson, type Output } from "../output.js";
import { attachConsole, isInteractive } from "../terminal.js";

export interface RunCommandOptions {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly memory?: string;
  readonly cpu?: string;
  readonly disk?: readonly string[];
  readonly serial: string;
  readonly device?: readonly string[];
  readonly timeout?: string;
  readonly reboot: boolean;
  readonly seed?: number;
  readonly engine?: string;
  readonly home?: string;
  readonly json?: boolean;
  readonly stats?: boolean;
}

const EXAMPLES = `
The serial console is this terminal: every key goes to the guest, Ctrl-] ends the VM. Without a terminal, standard
input goes to the guest and the guest's output to standard output, byte for byte, and nothing else does.

Sizes need a unit (512MiB, 2GiB); durations too (500ms, 30s, 5m, 1h30m).
Devices: isa-debug-exit[,iobase=0xf4]   virtio-rng   virtio-console[,path=FILE]

Exit status: 0 the guest powered off, 2 usage, 5 timeout, 6 the guest crashed (registers on standard error);
a write of VALUE to isa-debug-exit ends with (VALUE << 1) | 1.

Examples:
  $ vmdeck run mini
  $ vmdeck run mini -m 1GiB --disk root.img --timeout 5m --stats
  $ vmdeck run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 panic=-1" --no-reboot
  $ echo 'uname -a; poweroff' | vmdeck run mini > boot.log`;

export function registerRun(program: Command, context: CommandContext): void {
  program
    .command("run")
    .summary("boot a VM in this terminal")
    .description(
      "Boots a VM, its serial console in this terminal. IMAGE is an image's name; `mini` is built when it is absent.",
    )
    .argument("[IMAGE]", "image to boot (see `vmdeck image ls`)")
    .option("--kernel <FILE>", "boot this kernel: a Linux bzImage, or an ELF file with a PVH note")
    .option("--initrd <FILE>", "initial RAM disk")
    .option("--append <STRING>", "kernel command line; with an image, added to the image's own")
    .option("-m, --memory <SIZE>", "guest RAM (default: 512MiB)")
    .option("--cpu <MODEL>", "MODEL[,vendor=V][,+feature][,-feature] (default: x86-64-v2@1)")
    .option("--disk <FILE>", "FILE[,ro]: a raw disk; may be repeated", collect)
    .option("--serial <WHERE>", "stdio, none or file:PATH", "stdio")
    .option("--device <NAME>", "NAME[,key=value]: a further device; may be repeated", collect)
    .option("--timeout <DURATION>", "end the VM after this long, with exit status 5")
    .option("--no-reboot", "end the VM when the guest resets itself")
    .option("--seed <N>", "run deterministically: seeded randomness, time counted in instructions", parseSeed)
    .option("--engine <NAME>", "how to run guest code: interp")
    .option("--home <DIR>", "data directory (default: VMDECK_HOME, or the user's own)")
    .option("--json", "report the end and errors as JSON (on standard error while the console is on standard output)")
    .option("--stats", "report statistics at the end")
    .addHelpText("after", EXAMPLES)
    .action(async (image: string | undefined, options: RunCommandOptions) => {
      context.finish(await runVm(image, options, context.output));
    });
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(seed)) return seed;
  throw new VmError("VM_USAGE", `"${text}" is not a seed`, {
    hint: `give a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
  });
}

/** Options of the command line as the API takes them. */
export function toVmOptions(image: string | undefined, options: RunCommandOptions): VmOptions {
  const { kernel, initrd, append, memory, cpu, timeout, seed, engine, home } = options;
  const given = { image, kernel, initrd, append, memory, cpu, timeout, seed, engine, home };
  const present = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return {
    ...present,
    disks: options.disk ?? [],
    devices: options.device ?? [],
    serial: options.serial,
    onReset: options.reboot ? "restart" : "exit",
  };
}

async function runVm(image: string | undefined, options: RunCommandOptions, output: Output): Promise<number> {
  const streams = { stdin: process.stdin, stdout: process.stdout };
  const onConsole = options.serial === "stdio";
  const interactive = onConsole && isInteractive(streams);
  using interruption = new Interruption();
  try {
    const onProgress = (line: string) => output.note(`vmdeck: ${line}`);
    await using vm = await Vm.run(toVmOptions(image, options), { signal: interruption.signal, onProgress });
    if (interactive) output.note("vmdeck: the VM runs; Ctrl-] ends it");
    void reportEvents(vm.events(), output, interactive);
    if (onConsole) await attachConsole(vm, streams, interruption);
    const exit = await vm.wait();
    const status = interruption.status ?? statusOfExit(exit);
    report(exit, status, options, output);
    return status;
  } catch (error) {
    if (interruption.status !== undefined) return interruption.status;
    throw error;
  }
}

/** Defects of our devices are told at once; a guest's misuse is its own affair. */
async function reportEvents(events: AsyncIterable<VmEvent>, output: Output, raw: boolean): Promise<void> {
  for await (const event of events) {
    if (event.kind !== "diagnostic" || event.diagnostic.level !== "fault") continue;
    const { device, message, instructions } = event.diagnostic;
    const text = `vmdeck: device ${device} failed at instruction ${instructions} (VM_DEVICE_FAULT): ${message}`;
    output.note(raw ? text.replaceAll("\n", "\r\n") : text);
  }
}

function report(exit: VmExit, exitStatus: number, options: RunCommandOptions, output: Output): void {
  const error = errorOfExit(exit, options);
  if (options.json === true) {
    const { stats, ...end } = exit;
    const failure = error === undefined ? {} : { error: errorAsJson(error) };
    const result = { ...end, ...failure, exitStatus, instructions: stats.instructions };
    const full = options.stats === true ? { ...result, stats } : result;
    if (options.serial === "stdio") output.noteJson(full);
    else output.json(full);
    return;
  }
  if (error !== undefined) output.error(error, false);
  if (exit.kind === "crash") output.note(exit.dump);
  if (options.stats === true) output.note(formatStats(exit.stats));
}

function errorOfExit(exit: VmExit, options: RunCommandOptions): VmError | undefined {
  switch (exit.kind) {
    case "powerOff":
    case "reset":
    case "exit":
    case "killed":
      return undefined;
    case "timeout":
      return new VmError("VM_TIMEOUT", `the VM was still running after ${options.timeout}`, {
        hint: "give --timeout a longer time",
      });
    case "crash":
      return new VmError("VM_GUEST_CRASHED", `the guest crashed: ${exit.reason}`, {
        hint: "the registers follow; the end of the console output often tells more",
      });
    default:
      return assertNever(exit);
  }
}

/** Statistics as one line. */
export function formatStats(stats: VmStats): string {
  const exits = Object.entries(stats.exits)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
  const speed = stats.runMs > 0 ? stats.instructions / stats.runMs / 1000 : 0;
  const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(3)} s`;
  return [
    `vmdeck: ${stats.instructions} instructions (${speed.toFixed(1)} million/s)`,
    `exits: ${exits === "" ? "none" : exits}`,
    `in guest ${seconds(stats.runMs)} of ${seconds(stats.wallMs)}`,
    `interrupts ${stats.interrupts}, exceptions ${stats.exceptions}`,
  ].join("; ");
}
