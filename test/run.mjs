// The whole test run, as `npm test`: format and lint, types, unit and end-to-end tests, Rust tests.
// Prints every step as it goes and ends with one line, "N passed, N failed"; the exit status is 0 only when none failed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const total = { passed: 0, failed: 0, skipped: 0 };

function heading(name) {
  console.log(`\n=== ${name}`);
}

/** Runs a command with its output passed through; returns whether it succeeded. */
function succeeds(command, args) {
  const result = spawnSync(command, args, { stdio: "inherit" });
  return result.status === 0;
}

/** A step that is one check. */
function check(name, command, args) {
  heading(name);
  if (succeeds(command, args)) total.passed += 1;
  else total.failed += 1;
}

/** Whether an optional cargo component is installed. */
function hasComponent(name) {
  return spawnSync("cargo", [name, "--version"], { stdio: "ignore" }).status === 0;
}

function checkWith(component, name, args) {
  if (hasComponent(component)) return check(name, "cargo", args);
  total.skipped += 1;
  console.log(`\n=== ${name}: skipped, cargo ${component} is not installed`);
}

function runVitest() {
  heading("vitest");
  const directory = mkdtempSync(join(tmpdir(), "vmdeck-test-"));
  const report = join(directory, "vitest.json");
  try {
    const ok = succeeds("npx", [
      "vitest",
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ]);
    const result = JSON.parse(readFileSync(report, "utf8"));
    total.passed += result.numPassedTests;
    total.failed += result.numFailedTests;
    total.skipped += result.numPendingTests;
    if (!ok && result.numFailedTests === 0) total.failed += 1;
  } catch (error) {
    console.error(`vitest left no report: ${error.message}`);
    total.failed += 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function runCargo() {
  heading("cargo test");
  const result = spawnSync("cargo", ["test", "--workspace", "--no-fail-fast", "--quiet"], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  process.stdout.write(result.stdout);
  let failed = 0;
  for (const [, passed, bad, ignored] of result.stdout.matchAll(
    /^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored/gm,
  )) {
    total.passed += Number(passed);
    total.skipped += Number(ignored);
    failed += Number(bad);
  }
  total.failed += result.status !== 0 && failed === 0 ? 1 : failed;
}

check("types of tests", "npx", ["tsc", "-p", "tsconfig.test.json"]);
check("format and lint, TypeScript", "npx", ["biome", "check", "."]);
checkWith("fmt", "format, Rust", ["fmt", "--all", "--check"]);
checkWith("clippy", "lint, Rust", ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
runVitest();
runCargo();

const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed === 0 ? 0 : 1;
