import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { completionScript } from "../../src/cli/commands/completion.js";
import { Output } from "../../src/cli/output.js";
import { createProgram } from "../../src/cli/program.js";

const nowhere = { write: () => {} };
const program = createProgram({ output: new Output(nowhere, nowhere), finish: () => {} });

test.each(["bash", "zsh", "fish", "pwsh"] as const)("the %s script knows every command and option", (shell) => {
  const script = completionScript(program, shell);
  const words = program.commands.flatMap((command) => [
    command.name(),
    ...command.commands.map((sub) => sub.name()),
    ...command.options.map((option) => (option.long ?? "").replace(/^--/, "")),
  ]);
  expect(words.length).toBeGreaterThan(20);
  for (const word of words) expect(script).toContain(word);
});

/** Asks bash itself what it would offer for a command line whose last word is being typed. */
function offered(...words: string[]): string[] {
  const line = words.map((word) => `'${word}'`).join(" ");
  const script = `${completionScript(program, "bash")}
COMP_WORDS=(vmdeck ${line}); COMP_CWORD=${words.length}; _vmdeck; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync("bash", ["-c", script], { encoding: "utf8" }).trim().split("\n");
}

test("bash completes commands, subcommands and options", () => {
  expect(offered("r")).toEqual(["run"]);
  expect(offered("image", "b")).toEqual(["build"]);
  expect(offered("run", "--ti")).toEqual(["--timeout"]);
  expect(offered("run", "mini", "--no")).toEqual(["--no-reboot"]);
  expect(offered("image", "ls", "--j")).toEqual(["--json"]);
});
