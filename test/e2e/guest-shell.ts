/**
 * Types commands into a guest's shell and reads their answers, over its serial console.
 */
import type { Vm } from "../../src/control/vm.js";

/** Boots are slow on a busy host with an interpreter; what hangs is found all the same. */
export const BOOT_PATIENCE_MS = 240_000;
const COMMAND_PATIENCE_MS = 120_000;

export class GuestShell {
  readonly #vm: Vm;

  private constructor(vm: Vm) {
    this.#vm = vm;
  }

  /**
   * Waits for the prompt and makes the shell one that neither prompts nor edits lines, behind a terminal that does not
   * echo: what comes back is what commands print.
   */
  static async login(vm: Vm, prompt: string): Promise<GuestShell> {
    await vm.serial.waitFor(prompt, { timeoutMs: BOOT_PATIENCE_MS });
    const shell = new GuestShell(vm);
    await shell.type(`stty -echo; echo start''ed; while read -r line; do eval "$line"; done 2>&1`);
    await vm.serial.waitFor("started\r\n", { timeoutMs: COMMAND_PATIENCE_MS });
    return shell;
  }

  /** Types a line without waiting for an answer. */
  async type(line: string): Promise<void> {
    await this.#vm.serial.write(`${line}\n`);
  }

  /** Runs a command of one line and returns what it printed. Rejects when its status is not 0. */
  async run(command: string): Promise<string> {
    await this.type(`${command}; echo "<<$?>>"`);
    const pattern = /^([\s\S]*?)<<(\d+)>>\r\n/;
    const [, text = "", status] = await this.#vm.serial.waitFor(pattern, { timeoutMs: COMMAND_PATIENCE_MS });
    const printed = text.replaceAll("\r\n", "\n").trimEnd();
    if (status !== "0") throw new Error(`${command}: status ${status}: ${printed}`);
    return printed;
  }
}
