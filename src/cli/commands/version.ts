/**
 * `vmdeck version`: the versions of everything that could matter in a bug report.
 */
import type { Command } from "commander";
import { VmError } from "../../errors.js";
import { engineInfo } from "../../native/addon-engine.js";
import type { CommandContext } from "../command-context.js";
import type { Output } from "../output.js";
import { packageVersion } from "../package-version.js";

export interface VersionOptions {
  readonly json?: boolean;
}

export function registerVersion(program: Command, { output }: CommandContext): void {
  program
    .command("version")
    .summary("print versions")
    .description("Prints the versions of vmdeck, its engine and Node.js.")
    .option("--json", "print them as JSON")
    .addHelpText("after", "\nExamples:\n  $ vmdeck version\n  $ vmdeck version --json")
    .action((options: VersionOptions) => printVersion(options, output));
}

function printVersion(options: VersionOptions, output: Output): void {
  const versions = { vmdeck: packageVersion(), engine: engineVersion(), node: process.version };
  if (options.json === true) output.json(versions);
  else for (const [name, version] of Object.entries(versions)) output.line(`${name} ${version}`);
}

/** A missing addon is the doctor's business. */
function engineVersion(): string {
  try {
    return engineInfo().version;
  } catch (error) {
    if (error instanceof VmError) return `unavailable (${error.code})`;
    throw error;
  }
}
