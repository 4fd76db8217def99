/**
 * From a checked configuration to a wired machine: the engine with its RAM, the buses, the board's devices, the
 * configured ones, the firmware's tables and the kernel. What a `Machine` can be asked from outside is here too.
 */

import { IrqLines } from "../bus/irq-lines.js";
import { MmioBus } from "../bus/mmio.js";
import { PciBus } from "../bus/pci.js";
import { assignResources } from "../bus/pci-resources.js";
import { PortBus } from "../bus/ports.js";
import type { VmConfig } from "../config/schema.js";
import type { DeviceContext } from "../devices/device.js";
import { IoApic } from "../devices/ioapic.js";
import { Pic8259 } from "../devices/pic8259.js";
import type { ByteSink } from "../display/byte-sink.js";
import { VmError } from "../errors.js";
import { loadBoot } from "../firmware/load.js";
import { ramSpans } from "../firmware/memory-map.js";
import { createEngine } from "../native/addon-engine.js";
import { type Engine, EXIT_NAMES, type Registers } from "../native/engine.js";
import { plugBoard } from "./board.js";
import { readBootFiles } from "./boot-files.js";
import { MachineClock } from "./clock.js";
import { type Diagnostic, Diagnostics } from "./diagnostics.js";
import { MachineInputs } from "./inputs.js";
import { msiSink } from "./msi.js";
import { HostPace } from "./pace.js";
import { type BackEnd, plugConfigured } from "./plug-in.js";
import { type MachineEnd, PowerRequests } from "./power.js";
import { RunLoop } from "./run-loop.js";

const BOOT_CPU = 0;

/** What a machine needs of the process it lives in. */
export interface MachineHost {
  /** Where the guest's first serial port goes if it is configured as "stdio". */
  readonly console: ByteSink;
  /** A promise while the console's readers are behind. */
  backlog(): Promise<void> | undefined;
  onDiagnostic(diagnostic: Diagnostic): void;
  /** The guest was reset and starts again. */
  onReset(reason: string): void;
}

/** Counters since power-on. */
export interface MachineStats {
  /** Instructions retired, exactly. */
  readonly instructions: number;
  /** Guest time in milliseconds. */
  readonly guestMs: number;
  /** Host time since power-on in milliseconds. */
  readonly wallMs: number;
  /** Host time spent running the guest and answering its exits, in milliseconds; the rest was idle. */
  readonly runMs: number;
  /** Interrupts delivered to the processor. */
  readonly interrupts: number;
  /** Exceptions delivered to the guest. */
  readonly exceptions: number;
  /** Exits of the engine by kind ("io", "mmio", "hlt", ...). */
  readonly exits: Readonly<Record<string, number>>;
  readonly blocksDecoded: number;
  readonly blocksInvalidated: number;
  readonly tlbMisses: number;
  /** Slices of the main thread. */
  readonly slices: number;
  /** Times the guest was reset. */
  readonly resets: number;
}

/**
 * Builds a machine, ready to run: nothing of the guest has run yet.
 * @throws VmError for files (VM_FILE_NOT_FOUND, VM_KERNEL_INVALID, VM_DISK_INVALID, ...), devices (VM_DEVICE_UNKNOWN,
 *   VM_CONFIG_INVALID), the processor (VM_CPU_UNKNOWN) and the addon (VM_ADDON_MISSING, VM_ADDON_FAILED).
 */
export async function buildMachine(config: VmConfig, host: MachineHost): Promise<Machine> {
  const machine = new Machine(config, host);
  try {
    await machine.plugIn();
    await machine.boot();
    return machine;
  } catch (error) {
    await machine.abandon();
    throw error;
  }
}

export class Machine {
  readonly #config: VmConfig;
  readonly #engine: Engine;
  readonly #ports: PortBus;
  readonly #mmio: MmioBus;
  readonly #pci: PciBus;
  readonly #context: DeviceContext;
  readonly #inputs: MachineInputs;
  readonly #power = new PowerRequests();
  readonly #loop: RunLoop;
  readonly #host: MachineHost;
  readonly #devices: { reset(): void }[] = [];
  readonly #backEnds: BackEnd[] = [];
  #pressPowerButton: () => void = () => {};
  #startedMs: number | undefined;
  #ended: (end: MachineEnd) => void = () => {};
  /** Resolves when the machine has been told from outside to end. */
  readonly finishRequested = new Promise<MachineEnd>((resolve) => {
    this.#ended = resolve;
  });

  /** Made by `buildMachine`. */
  constructor(config: VmConfig, host: MachineHost) {
    this.#config = config;
    this.#host = host;
    const engine = createEngine({
      memoryBytes: config.memoryBytes,
      cpus: config.cpus,
      cpuModel: config.cpu.model,
      vendor: config.cpu.vendor,
      features: config.cpu.features,
      engine: config.engine,
    });
    this.#engine = engine;
    for (const span of ramSpans(config.memoryBytes)) engine.mapRam(span.address, span.length, span.ramOffset);

    const diagnostics = new Diagnostics(
      () => engine.exit.instructions,
      (diagnostic) => host.onDiagnostic(diagnostic),
    );
    const onFault = (device: string, error: unknown) => diagnostics.fault(device, error);
    const warn = (device: string, message: string) => diagnostics.warn(device, message);
    const pace = new HostPace();
    const seed = config.seed === undefined ? {} : { seed: config.seed };
    this.#inputs = new MachineInputs({
      ...seed,
      position: () => engine.exit.instructions,
      onArrival: () => pace.wake(),
      onFault,
    });
    const clock = new MachineClock({
      engine,
      ...(config.seed === undefined ? { hostNs: () => pace.nowNs() } : {}),
      onAnchor: (anchor) => this.#inputs.record("anchor", "clock", anchor.ns),
      onFault,
    });
    this.#ports = new PortBus(onFault);
    this.#mmio = new MmioBus(onFault);
    const pic = new Pic8259((high) => engine.setIntr(BOOT_CPU, high));
    const ioapic = new IoApic((message) => engine.deliver(message));
    const lines = new IrqLines(pic, ioapic);
    pic.attach(this.#ports);
    ioapic.attach(this.#mmio);
    this.#devices.push(pic, ioapic);
    this.#pci = new PciBus(this.#ports, this.#mmio, (gsi) => lines.pin(gsi));
    this.#context = {
      memory: {
        read: (address, target) => engine.readMemory(address, target),
        write: (address, source) => engine.writeMemory(address, source),
      },
      clock,
      inputs: this.#inputs,
      msi: msiSink(engine, warn),
      power: this.#power,
      irq: (gsi) => lines.pin(gsi),
      warn,
    };
    this.#loop = new RunLoop(
      {
        engine,
        ports: this.#ports,
        mmio: this.#mmio,
        clock,
        inputs: this.#inputs,
        power: this.#power,
        pace,
        acknowledge: () => pic.acknowledge(),
        endOfInterrupt: (vector) => ioapic.endOfInterrupt(vector),
        reboot: () => this.boot(),
        backlog: () => this.#backlog(),
        onFault,
        onReset: (reason) => host.onReset(reason),
      },
      { onReset: config.onReset },
    );
  }

  /** Puts the board's devices and the configured ones into place. Called once, by `buildMachine`. */
  async plugIn(): Promise<void> {
    const slots = { context: this.#context, ports: this.#ports, mmio: this.#mmio, pci: this.#pci };
    const board = plugBoard(slots, this.#config.memoryBytes);
    this.#devices.push(...board.devices);
    const configured = await plugConfigured(slots, this.#config, this.#host.console, (backEnd) => {
      this.#backEnds.push(backEnd);
    });
    this.#devices.push(...configured);
    this.#pressPowerButton = board.pressPowerButton;
  }

  /** Power-on: resets the devices and loads firmware tables and kernel. The engine is in reset already. */
  async boot(): Promise<void> {
    const files = await readBootFiles(this.#config);
    for (const device of this.#devices) device.reset();
    assignResources(this.#pci);
    const registers = loadBoot({
      memory: { write: (address, bytes) => this.#writeFirmware(address, bytes) },
      kernel: files.kernel,
      initrd: files.initrd,
      commandLine: this.#config.boot.append,
      memoryBytes: this.#config.memoryBytes,
      cpus: this.#config.cpus,
    });
    files.release();
    this.#engine.setRegisters(BOOT_CPU, registers);
    this.#engine.enterVirtualWire();
  }

  /** Runs the guest until the machine ends. Call once. */
  async run(): Promise<MachineEnd> {
    this.#startedMs = performance.now();
    return await this.#loop.run();
  }

  /** Ends the machine from outside, whether it runs or not. The first end counts. */
  finish(end: MachineEnd): void {
    this.#loop.finish(end);
    this.#ended(end);
  }

  /** Presses the ACPI power button at the next instruction boundary. */
  pressPowerButton(): void {
    this.#inputs.request("power button", this.#pressPowerButton);
  }

  /** Resets the machine at the next instruction boundary. */
  reset(): void {
    this.#inputs.request("reset", () => this.#power.reset("reset from outside"));
  }

  /** Types bytes into a character device's channel; false when there is no such channel. */
  send(channel: string, bytes: Uint8Array): boolean {
    return this.#inputs.send(channel, bytes);
  }

  /** Resolves when the guest has taken most of what was sent to the channel; never while it does not. */
  room(channel: string): Promise<void> {
    return this.#inputs.room(channel);
  }

  registers(): Registers {
    return this.#engine.registers(BOOT_CPU);
  }

  stats(): MachineStats {
    const engine = this.#engine.stats();
    const { runMs, slices, resets } = this.#loop.stats();
    return {
      instructions: engine.instructions,
      guestMs: this.#engine.guestNs() / 1e6,
      wallMs: this.#startedMs === undefined ? 0 : performance.now() - this.#startedMs,
      runMs,
      interrupts: engine.interruptsDelivered,
      exceptions: engine.exceptionsDelivered,
      exits: Object.fromEntries(EXIT_NAMES.map((name, kind) => [name, engine.exits[kind] ?? 0])),
      blocksDecoded: engine.blocksDecoded,
      blocksInvalidated: engine.blocksInvalidated,
      tlbMisses: engine.tlbMisses,
      slices,
      resets,
    };
  }

  /** Writes out what back ends still hold, closes them, and frees the engine. Nothing may be called afterwards. */
  async close(): Promise<void> {
    await Promise.all(this.#backEnds.map((backEnd) => backEnd.close()));
    this.#engine.close();
  }

  /** As `close`, for a machine that could not be built: leaves no half-made files. */
  async abandon(): Promise<void> {
    await Promise.all(this.#backEnds.map((backEnd) => backEnd.abandon?.() ?? backEnd.close()));
    this.#engine.close();
  }

  #backlog(): Promise<void> | undefined {
    const console = this.#host.backlog();
    if (console !== undefined) return console;
    for (const backEnd of this.#backEnds) {
      const behind = backEnd.backlog?.();
      if (behind !== undefined) return behind;
    }
    return undefined;
  }

  #writeFirmware(address: number, bytes: Uint8Array): void {
    if (this.#engine.writeMemory(address, bytes)) return;
    throw new VmError("VM_MEMORY_TOO_SMALL", `there is no RAM for ${bytes.length} bytes at 0x${address.toString(16)}`, {
      hint: "give the guest more memory with -m/--memory",
    });
  }
}
