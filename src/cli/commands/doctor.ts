/**
 * `vmdeck doctor`: what addon is loaded, what the host offers, where files are, and how fast the engine is.
 */
import { cpus, totalmem } from "node:os";
import type { Command } from "commander";
import { selfTest } from "../../control/launcher.js";
import { VmError } from "../../errors.js";
import { engineInfo } from "../../native/addon-engine.js";
import { resolveHome } from "../../store/home.js";
import { listImages } from "../../store/images.js";
import type { CommandContext } from "../command-context.js";
import { EXIT_STATUS } from "../exit-codes.js";
import type { Output } from "../output.js";
import { packageVersion } from "../package-version.js";

export interface DoctorOptions {
  readonly home?: string;
  readonly json?: boolean;
}

const SELF_TEST_MS = 1000;

interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
  readonly hint?: string | undefined;
}

export function registerDoctor(program: Command, context: CommandContext): void {
  program
    .command("doctor")
    .summary("check the installation and its speed")
    .description(
      "Checks the installation: the native addon, the host, the data directory, and the engine's speed (1 second).",
    )
    .option("--home <DIR>", "data directory (default: VMDECK_HOME, or the user's own)")
    .option("--json", "print the findings as JSON")
    .addHelpText(
      "after",
      "\nExit status: 0 all is well, 1 something is wrong.\n\nExamples:\n  $ vmdeck doctor\n  $ vmdeck doctor --json",
    )
    .action(async (options: DoctorOptions) => {
      const findings = await examine(options.home ?? resolveHome());
      print(findings, options, context.output);
      if (findings.some(({ ok }) => !ok)) context.finish(EXIT_STATUS.failure);
    });
}

async function examine(home: string): Promise<Finding[]> {
  return [
    { name: "version", ok: true, text: `vmdeck ${packageVersion()}, Node.js ${process.version}` },
    { name: "host", ok: true, text: hostText() },
    await find("addon", () => engineInfo().origin),
    await find("engine", () => {
      const { version, arch, os, engines, cpuModels } = engineInfo();
      return `${version} for ${arch} ${os}; engines ${engines.join(" ")}; CPU models ${cpuModels.join(" ")}`;
    }),
    await find("features", () => engineInfo().hostFeatures.join(" ") || "none that an engine uses"),
    { name: "home", ok: true, text: home },
    await find(
      "images",
      async () => (await listImages(home)).map(({ manifest }) => manifest.name).join(" ") || "none yet",
    ),
    await find("speed", async () => {
      const { instructions, milliseconds } = await selfTest(SELF_TEST_MS);
      return `${(instructions / milliseconds / 1000).toFixed(1)} million instructions per second`;
    }),
  ];
}

function hostText(): string {
  const processors = cpus();
  return `${process.platform} ${process.arch}, ${processors.length} x ${processors[0]?.model ?? "processor"}, ${Math.round(totalmem() / 2 ** 20)} MiB`;
}

async function find(name: string, look: () => string | Promise<string>): Promise<Finding> {
  try {
    return { name, ok: true, text: await look() };
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    return { name, ok: false, text: `${error.message} (${error.code})`, hint: error.hint };
  }
}

function print(findings: readonly Finding[], options: DoctorOptions, output: Output): void {
  if (options.json === true) {
    output.json(findings);
    return;
  }
  for (const { name, ok, text, hint } of findings) {
    output.line(`${ok ? "ok   " : "FAIL "} ${name.padEnd(8)} ${text}`);
    if (hint !== undefined) output.line(`               hint: ${hint}`);
  }
}
