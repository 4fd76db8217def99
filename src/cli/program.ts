/**
 * The command line: the program with all its commands, and `main`, which turns whatever happens into an exit status.
 */
import { Command, CommanderError } from "commander";
import { VmError } from "../errors.js";
import type { CommandContext } from "./command-context.js";
import { registerCompletion } from "./commands/completion.js";
import { registerDoctor } from "./commands/doctor.js";
import { registerImage } from "./commands/image.js";
import { registerRun } from "./commands/run.js";
import { registerVersion } from "./commands/version.js";
import { EXIT_STATUS, statusOfError } from "./exit-codes.js";
import { Output } from "./output.js";
import { packageVersion } from "./package-version.js";

/** The program and its commands; nothing runs yet. Usage errors are thrown as CommanderError. */
export function createProgram(context: CommandContext): Command {
  const program = new Command("vmdeck")
    .description("Runs whole x86 PCs in user space: no KVM, no root, no daemon.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpCommand(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.output.raw(text),
      // Errors are printed by `main`, with their code; help asked for in error goes the same way as help.
      writeErr: () => {},
      outputError: () => {},
    })
    .addHelpText(
      "after",
      `
Exit status: 0 the guest powered off, 1 failure, 2 usage, 5 timeout, 6 the guest crashed.

Examples:
  $ vmdeck run mini                                   a Linux shell in this terminal
  $ vmdeck run --kernel bzImage --initrd initrd.img   boot a kernel of your own
  $ vmdeck doctor                                     is everything in order, and how fast is it?`,
    );
  registerRun(program, context);
  registerImage(program, context);
  registerDoctor(program, context);
  registerVersion(program, context);
  registerCompletion(program, context);
  return program;
}

/** Runs the command line `argv` (without node and the script) and returns its exit status. Never rejects. */
export async function main(
  argv: readonly string[],
  output: Output = new Output(process.stdout, process.stderr),
): Promise<number> {
  const status = await perform(argv, output);
  return output.brokenStatus ?? status;
}

async function perform(argv: readonly string[], output: Output): Promise<number> {
  let status: number = EXIT_STATUS.ok;
  const program = createProgram({
    output,
    finish: (wanted) => {
      status = wanted;
    },
  });
  try {
    if (argv.length === 0) throw usage("no command is given");
    await program.parseAsync(argv, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT_STATUS.ok;
    const reported = asVmError(error);
    output.error(reported, argv.includes("--json"));
    return statusOfError(reported);
  }
}

function asVmError(error: unknown): VmError {
  if (error instanceof VmError) return error;
  if (error instanceof CommanderError) {
    // A group without a subcommand prints its help where errors would go.
    if (error.code === "commander.help") return usage("a subcommand is missing");
    const [message = "", ...suggestion] = error.message.replace(/^error: /, "").split("\n");
    return usage(message, suggestion.join(" ").replace(/^\(|\)$/g, ""));
  }
  return new VmError("VM_INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error), {
    cause: error,
    hint: "this is a defect of vmdeck; please report it with the text above",
  });
}

function usage(message: string, suggestion = ""): VmError {
  const hint = "`vmdeck --help` and `vmdeck COMMAND --help` show what there is";
  return new VmError("VM_USAGE", message, { hint: suggestion === "" ? hint : `${suggestion} ${hint}` });
}
