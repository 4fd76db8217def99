/**
 * The public `Vm`: an asynchronous client of a VM process. No call of it runs guest code in its caller.
 */
import { randomBytes } from "node:crypto";
import { rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { VmError } from "../errors.js";
import { registersFromJson } from "../native/addon-engine.js";
import type { Registers } from "../native/engine.js";
import { AsyncQueue } from "./async-queue.js";
import { ControlClient } from "./client.js";
import { launch, type VmProcess } from "./launcher.js";
import { SerialConsole } from "./serial-console.js";
import { type ProgressListener, resolveVm, type VmOptions } from "./vm-options.js";
import type { VmEvent, VmExit, VmStats } from "./vm-report.js";

/** A VM process that does not obey `kill` for this long is ended by force. */
const KILL_PATIENCE_MS = 5000;

export interface RunOptions {
  /** Kills the VM when aborted, or ends the building of its image. */
  readonly signal?: AbortSignal;
  /** Told what happens while an image is built. */
  readonly onProgress?: ProgressListener;
}

/**
 * A running virtual machine.
 *
 * ```ts
 * await using vm = await Vm.run({ image: "mini", memory: "512MiB" });
 * await vm.serial.waitFor(/# $/);
 * await vm.serial.write("uname -r\n");
 * await vm.serial.write("poweroff\n");
 * const exit = await vm.wait();
 * ```
 */
export class Vm implements AsyncDisposable {
  /** COM1 of the guest. */
  readonly serial: SerialConsole;
  readonly #process: VmProcess;
  readonly #client: ControlClient;
  readonly #ended: Promise<VmExit>;
  readonly #readers: Set<AsyncQueue<VmEvent>>;

  private constructor(parts: VmParts) {
    this.serial = parts.serial;
    this.#process = parts.process;
    this.#client = parts.client;
    this.#ended = parts.ended;
    this.#readers = parts.readers;
  }

  /**
   * Starts a VM and returns when it is running. The VM lives as long as this process: it ends when this one does.
   * @throws VmError for every way in which options, files, images or the host can be wrong: VM_USAGE,
   *   VM_CONFIG_INVALID, VM_FILE_NOT_FOUND, VM_KERNEL_INVALID, VM_IMAGE_NOT_FOUND, VM_ADDON_MISSING, ...
   */
  static async run(options: VmOptions, { signal, onProgress }: RunOptions = {}): Promise<Vm> {
    signal?.throwIfAborted();
    const { config, timeoutMs } = await resolveVm(options, { signal, onProgress });
    signal?.throwIfAborted();
    const token = randomBytes(32).toString("hex");
    const limit = timeoutMs === undefined ? {} : { timeoutMs };
    const process = await launch({ kind: "vm", token, config, ...limit });
    try {
      const vm = new Vm(await join(process, token));
      await vm.#client.call("start");
      if (signal !== undefined) vm.#obey(signal);
      return vm;
    } catch (error) {
      process.destroy();
      await removeSocket(process);
      throw error;
    }
  }

  /** Process id of the VM process. */
  get pid(): number {
    return this.#process.pid;
  }

  /**
   * Resolves when the VM has ended, its process is gone and all its output has been received.
   * @throws VmError VM_PROCESS_DIED when the VM process died without a report.
   */
  async wait(): Promise<VmExit> {
    return await this.#ended;
  }

  /** Presses the ACPI power button; a guest that listens shuts down. */
  async powerButton(): Promise<void> {
    await this.#client.call("powerButton");
  }

  /** Resets the guest, as the button on the case does. */
  async reset(): Promise<void> {
    await this.#client.call("reset");
  }

  /** Ends the VM at once, as pulling the plug does. Does nothing when it has ended. Resolves when its process is gone. */
  async kill(): Promise<void> {
    const force = setTimeout(() => this.#process.destroy(), KILL_PATIENCE_MS);
    try {
      // A VM that has ended does not answer, and one whose reader stands still must be able to.
      this.#client.release();
      await this.#client.call("kill").catch(() => {});
      await this.#process.exited;
    } finally {
      clearTimeout(force);
    }
  }

  /** Counters since power-on. @throws VmError VM_PROCESS_DIED when the VM has ended. */
  async stats(): Promise<VmStats> {
    return (await this.#client.call("stats")) as VmStats;
  }

  /** Architectural registers of the processor, between two instructions. @throws VmError VM_PROCESS_DIED when the VM has ended. */
  async registers(): Promise<Registers> {
    return registersFromJson((await this.#client.call("registers")) as string);
  }

  /** What happens to the VM from now on; ends with "ended". */
  events(): AsyncIterableIterator<VmEvent> {
    const reader: AsyncQueue<VmEvent> = new AsyncQueue(() => {
      if (reader.closed) this.#readers.delete(reader);
    });
    this.#readers.add(reader);
    this.#ended.then(
      (exit) => this.#finish(reader, exit),
      () => reader.close(),
    );
    return reader;
  }

  /** Kills the VM if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #finish(reader: AsyncQueue<VmEvent>, exit: VmExit): void {
    reader.push({ kind: "ended", exit });
    reader.close();
  }

  #obey(signal: AbortSignal): void {
    const abort = () => void this.kill();
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    const forget = () => signal.removeEventListener("abort", abort);
    this.#ended.then(forget, forget);
  }
}

interface VmParts {
  readonly process: VmProcess;
  readonly client: ControlClient;
  readonly serial: SerialConsole;
  readonly ended: Promise<VmExit>;
  readonly readers: Set<AsyncQueue<VmEvent>>;
}

/** Connects to a VM process and gathers what it reports. */
async function join(process: VmProcess, token: string): Promise<VmParts> {
  if (process.answer.kind !== "ready") throw new VmError("VM_PROTOCOL", "the VM process did not say where it listens");
  const readers = new Set<AsyncQueue<VmEvent>>();
  let report: VmExit | undefined;
  let closed = () => {};
  const disconnected = new Promise<void>((resolve) => {
    closed = resolve;
  });
  let client: ControlClient | undefined;
  const serial = new SerialConsole({
    send: (bytes) => client?.send(bytes) ?? Promise.resolve(),
    hold: (stopped) => client?.hold(stopped),
  });
  client = await ControlClient.connect(process.answer.address, token, {
    event(method, params) {
      if (method !== "event") return;
      const event = params as VmEvent;
      if (event.kind === "ended") report = event.exit;
      else for (const reader of readers) reader.push(event);
    },
    console: (bytes) => serial.receive(bytes),
    closed,
  });
  const ended = disconnected.then(async () => {
    serial.end();
    const how = await process.exited;
    await removeSocket(process);
    if (report !== undefined) return report;
    throw new VmError("VM_PROCESS_DIED", `the VM process died: ${how}`, {
      hint: "this is a defect of vmdeck or its host; please report it with the text above",
    });
  });
  // Whoever does not wait is not told; `wait` rejects all the same.
  ended.catch(() => {});
  return { process, client, serial, ended, readers };
}

/** The VM process removes its socket itself, unless it was ended by force. */
async function removeSocket({ answer }: VmProcess): Promise<void> {
  if (answer.kind !== "ready" || globalThis.process.platform === "win32") return;
  await rm(answer.address, { force: true });
  await rmdir(dirname(answer.address)).catch(() => {});
}
