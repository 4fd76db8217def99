/**
 * The VM process: reads what to run from standard input, builds the machine, serves its control socket, runs, reports,
 * and leaves nothing behind. Standard input is also its lifeline: when it closes, its launcher is gone and the VM ends.
 */
import { createInterface } from "node:readline";
import { parseConfig } from "../config/load.js";
import { VmError } from "../errors.js";
import { buildMachine, type Machine } from "../machine/build.js";
import type { MachineEnd } from "../machine/power.js";
import { measureEngine } from "../machine/self-test.js";
import { registersToJson } from "../native/addon-engine.js";
import { ConsoleHub } from "./console-hub.js";
import { type Launch, type LaunchAnswer, launchSchema, toRpcError } from "./protocol.js";
import { ControlServer } from "./server.js";
import type { VmExit } from "./vm-report.js";

type VmLaunch = Extract<Launch, { kind: "vm" }>;

/** A launcher that has not asked for the start after this long has given up. */
const START_PATIENCE_MS = 30_000;
/** The channel that console bytes go to. */
const SERIAL = "serial0";

function answer(line: LaunchAnswer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(): Promise<void> {
  const lifeline = createInterface({ input: process.stdin });
  const first = await new Promise<string | undefined>((resolve) => {
    lifeline.once("line", resolve);
    lifeline.once("close", () => resolve(undefined));
  });
  if (first === undefined) return;
  const lost = new Promise<void>((resolve) => lifeline.once("close", resolve));
  try {
    const launch = parseLaunch(first);
    if (launch.kind === "vm") await runVm(launch, lost);
    else answer({ kind: "selfTest", ...measureEngine(launch.milliseconds) });
  } catch (error) {
    answer({ kind: "error", error: toRpcError(error) });
    process.exitCode = 1;
  }
  lifeline.close();
  process.stdin.destroy();
}

function parseLaunch(line: string): Launch {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new VmError("VM_PROTOCOL", "the launch message is not JSON", { cause });
  }
  const launch = launchSchema.safeParse(value);
  if (!launch.success)
    throw new VmError("VM_PROTOCOL", "the launch message is not understood", { cause: launch.error });
  return launch.data;
}

async function runVm(launch: VmLaunch, lost: Promise<void>): Promise<void> {
  const console = new ConsoleHub();
  const config = parseConfig(launch.config);
  let server: ControlServer | undefined;
  const machine = await buildMachine(config, {
    console,
    backlog: () => console.backlog(),
    onDiagnostic: (diagnostic) => server?.notify("event", { kind: "diagnostic", diagnostic }),
    onReset: (reason) => server?.notify("event", { kind: "reset", reason }),
  });
  let start = () => {};
  const started = new Promise<void>((resolve) => {
    start = resolve;
  });
  server = new ControlServer({
    token: launch.token,
    console,
    call: (method) => answerCall(machine, method, start),
    input: (bytes) => machine.send(SERIAL, bytes),
  });
  const listening = server;
  process.on("exit", () => listening.remove());
  await server.listen();
  answer({ kind: "ready", address: server.address });
  try {
    await serve(launch, { machine, server, console, started, lost });
  } catch (error) {
    // The launcher has had its answer and clients wait for a report that cannot come: standard error tells why.
    process.stderr.write(`${error instanceof VmError ? `${error.message} (${error.code})` : String(error)}\n`);
    process.exit(1);
  }
}

interface Served {
  readonly machine: Machine;
  readonly server: ControlServer;
  readonly console: ConsoleHub;
  /** The launcher wants the guest to run. */
  readonly started: Promise<void>;
  /** The launcher is gone. */
  readonly lost: Promise<void>;
}

/** Runs the machine to its end and lets the clients take what there is to tell. Rejects for bugs of ours and for back ends that cannot be closed. */
async function serve(launch: VmLaunch, { machine, server, console, started, lost }: Served): Promise<void> {
  const orphaned = lost.then(() => {
    machine.finish({ kind: "killed" });
    return "orphaned" as const;
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
    process.on(signal, () => machine.finish({ kind: "killed" }));

  const patience = setTimeout(() => machine.finish({ kind: "killed" }), START_PATIENCE_MS);
  await Promise.race([started, machine.finishRequested]);
  clearTimeout(patience);
  const limit =
    launch.timeoutMs === undefined
      ? undefined
      : setTimeout(() => machine.finish({ kind: "timeout" }), launch.timeoutMs);
  const end: MachineEnd = await machine.run();
  clearTimeout(limit);

  const exit: VmExit = { ...end, stats: machine.stats() };
  await machine.close();
  console.flush();
  server.notify("event", { kind: "ended", exit });
  // The owner takes what is queued at its own speed; if it is gone, nobody will.
  await Promise.race([server.close(), orphaned]);
  server.remove();
}

function answerCall(machine: Machine, method: string, start: () => void): unknown {
  switch (method) {
    case "start":
      return start();
    case "powerButton":
      return machine.pressPowerButton();
    case "reset":
      return machine.reset();
    case "kill":
      return machine.finish({ kind: "killed" });
    case "stats":
      return machine.stats();
    case "serialRoom":
      return machine.room(SERIAL);
    case "registers":
      return registersToJson(machine.registers());
    default:
      throw new VmError("VM_PROTOCOL", `there is no method ${method}`);
  }
}

await main();
