import { expect, test } from "vitest";
import { Output } from "../../src/cli/output.js";
import { main } from "../../src/cli/program.js";

/** Runs a command line and gathers what it prints. */
async function run(...argv: string[]) {
  const printed = { out: "", err: "" };
  const stream = (name: "out" | "err") => ({
    write: (text: string) => {
      printed[name] += text;
    },
  });
  const output = new Output(stream("out"), stream("err"));
  const status = await main(argv, output);
  return { status, ...printed };
}

test.each([
  [["--help"], "Commands:"],
  [["run", "--help"], "--timeout <DURATION>"],
  [["image", "--help"], "build"],
  [["image", "build", "--help"], "NAME"],
  [["image", "ls", "--help"], "--json"],
  [["image", "rm", "--help"], "NAMES"],
  [["doctor", "--help"], "--json"],
  [["version", "--help"], "--json"],
  [["completion", "--help"], "SHELL"],
])("%j explains itself, with examples, on standard output", async (argv, text) => {
  const { status, out, err } = await run(...argv);
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(out).toContain(text);
  expect(out).toContain("Examples:\n  $ ");
});

test.each([
  ["no command", []],
  ["an unknown command", ["fly"]],
  ["an unknown option", ["run", "--kernle", "x"]],
  ["a missing value", ["run", "--kernel"]],
  ["too many arguments", ["run", "a", "b"]],
  ["nothing to boot", ["run"]],
  ["two things to boot", ["run", "mini", "--kernel", "k"]],
  ["a size without a unit", ["run", "--kernel", "k", "-m", "512"]],
  ["a size that is none", ["run", "--kernel", "k", "-m", "lots"]],
  ["a duration without a unit", ["run", "--kernel", "k", "--timeout", "30"]],
  ["a seed that is none", ["run", "--kernel", "k", "--seed", "0x10"]],
  ["a huge seed", ["run", "--kernel", "k", "--seed", "99999999999999999999"]],
  ["a malformed CPU", ["run", "--kernel", "k", "--cpu", "m,aes"]],
  ["a malformed disk", ["run", "--kernel", "k", "--disk", "a,rw"]],
  ["a malformed serial port", ["run", "--kernel", "k", "--serial", "tcp"]],
  ["a malformed device", ["run", "--kernel", "k", "--device", "d,x"]],
  ["an image without a recipe", ["image", "build", "windows"]],
  ["a group without a command", ["image"]],
  ["an unknown shell", ["completion", "tcsh"]],
])("%s is a usage error: status 2, a code and a hint", async (_what, argv) => {
  const { status, out, err } = await run(...argv);
  expect({ status, out }).toEqual({ status: 2, out: "" });
  expect(err).toMatch(/^error: .+ \(VM_USAGE\)\nhint: .+\n$/s);
});

test.each([
  ["too little memory", ["-m", "1MiB"], "memoryBytes"],
  ["an unknown engine", ["--engine", "warp"], "engine"],
  ["a vendor of the wrong length", ["--cpu", "x86-64-v2@1,vendor=me"], "vendor"],
  ["an endless command line", ["--append", "x".repeat(5000)], "append"],
])("%s is a configuration error: status 2, naming the field", async (_what, argv, field) => {
  const { status, err } = await run("run", "--kernel", "k", ...argv);
  expect(status).toBe(2);
  expect(err).toContain("(VM_CONFIG_INVALID)");
  expect(err).toContain(field);
});

test("an image that is not there is an error with status 1", async () => {
  const { status, err } = await run("run", "nonesuch", "--home", "/nonexistent");
  expect(status).toBe(1);
  expect(err).toMatch(/VM_IMAGE_NOT_FOUND[\s\S]*hint: /);
});

test("errors are JSON where JSON is asked for", async () => {
  const { status, err } = await run("run", "--json");
  expect(status).toBe(2);
  expect(JSON.parse(err)).toMatchObject({ error: { code: "VM_USAGE", hint: expect.any(String) } });
});

test("versions are printed as text and as JSON", async () => {
  expect((await run("--version")).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect((await run("version")).out).toMatch(/^vmdeck \d+\.\d+\.\d+\nengine .+\nnode v\d+/);
  expect(JSON.parse((await run("version", "--json")).out)).toMatchObject({ node: process.version });
});

test("images are listed as a table and as JSON, none in an empty home", async () => {
  expect((await run("image", "ls", "--home", "/nonexistent")).out).toBe("NAME  BUILT  KERNEL  SIZE\n");
  expect((await run("image", "ls", "--json", "--home", "/nonexistent")).out).toBe("[]\n");
});

test("a reader that has gone away ends the program quietly, a full disk by a message", async () => {
  for (const [code, status, said] of [
    ["EPIPE", 141, ""],
    ["ENOSPC", 1, "error: standard output cannot be written: no room\n"],
  ] as const) {
    let broke = (_error: NodeJS.ErrnoException) => {};
    let err = "";
    const kept = process.exitCode;
    const failure = Object.assign(new Error("no room"), { code });
    const stdout = {
      write: () => broke(failure),
      on: (_event: "error", listener: typeof broke) => {
        broke = listener;
      },
    };
    const output = new Output(stdout, {
      write: (text) => {
        err += text;
      },
    });
    expect(await main(["--help"], output)).toBe(status);
    expect(err).toBe(said);
    process.exitCode = kept;
  }
});
