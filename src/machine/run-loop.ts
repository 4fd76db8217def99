/**
 * The run loop of one machine: runs the vCPU in slices of about a millisecond on the main thread, answers its exits,
 * and hands the thread to the event loop in between. While the guest is halted it sleeps until a timer, the vCPU's own
 * timer, or something from outside.
 *
 * Answering an exit allocates nothing and awaits nothing. Everything from outside enters at the start of a slice.
 * What an exit means to a device is none of its business: that is the buses'.
 */
import type { AccessSize } from "../bus/access.js";
import type { MmioBus } from "../bus/mmio.js";
import type { PortBus } from "../bus/ports.js";
import { assertNever, VmError } from "../errors.js";
import { type Engine, EXIT } from "../native/engine.js";
import type { MachineClock } from "./clock.js";
import type { MachineInputs } from "./inputs.js";
import type { Pace } from "./pace.js";
import type { MachineEnd, PowerRequests } from "./power.js";

/** Instructions between two looks at the host's clock. */
export const QUANTUM = 32_768;
/** Exits between two looks at the host's clock, for guests that do nothing but I/O. */
const EXITS_PER_LOOK = 64;
const SLICE_NS = 1_000_000;
/** An idle time shorter than this is not worth a sleep: guest time jumps ahead of the wall, well within its drift. */
const SHORTEST_SLEEP_NS = 20_000;
const BOOT_CPU = 0;

export interface RunLoopParts {
  readonly engine: Engine;
  readonly ports: Pick<PortBus, "read" | "write">;
  readonly mmio: Pick<MmioBus, "read" | "write" | "high">;
  readonly clock: MachineClock;
  readonly inputs: MachineInputs;
  readonly power: PowerRequests;
  readonly pace: Pace;
  /** Answers the 8259's acknowledge cycle with a vector. */
  acknowledge(): number;
  /** Tells the IOAPIC that a level-triggered vector has been serviced. */
  endOfInterrupt(vector: number): void;
  /** Puts everything but the engine into its power-on state and loads the boot image again. Rejects when it cannot. */
  reboot(): Promise<void>;
  /** A promise while whoever takes the guest's output is behind; the guest then stands still. */
  backlog(): Promise<void> | undefined;
  /** A device threw: a bug of ours, contained. */
  onFault(device: string, error: unknown): void;
  /** The guest was reset and starts again. */
  onReset(reason: string): void;
}

export interface RunLoopOptions {
  readonly onReset: "restart" | "exit";
}

export interface RunStats {
  /** Host milliseconds spent running the guest and answering its exits. */
  readonly runMs: number;
  /** Slices of the main thread. */
  readonly slices: number;
  /** Times the guest was reset. */
  readonly resets: number;
}

/** What the loop does after a slice. */
type Next = "turn" | "idle" | "stop";

export class RunLoop {
  readonly #parts: RunLoopParts;
  readonly #options: RunLoopOptions;
  #runNs = 0;
  #slices = 0;
  #resets = 0;

  constructor(parts: RunLoopParts, options: RunLoopOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Runs until the machine ends, and says why. Rejects only for bugs of ours. */
  async run(): Promise<MachineEnd> {
    const { clock, pace, power } = this.#parts;
    clock.start();
    for (;;) {
      await this.#standStill();
      const next = power.pending ? "stop" : this.#slice();
      if (next === "stop") {
        const end = await this.#stop();
        if (end !== undefined) return end;
      } else if (next === "idle") {
        await this.#idle();
      } else {
        await pace.turn();
      }
    }
  }

  /** Ends the machine from outside. */
  finish(end: MachineEnd): void {
    this.#parts.power.finish(end);
    this.#parts.pace.wake();
  }

  stats(): RunStats {
    return { runMs: this.#runNs / 1e6, slices: this.#slices, resets: this.#resets };
  }

  #slice(): Next {
    const { engine, clock, inputs, power, pace } = this.#parts;
    const startNs = pace.nowNs();
    this.#slices += 1;
    inputs.deliver();
    let lookAt = engine.exit.instructions + QUANTUM;
    let exits = 0;
    let next: Next | undefined;
    while (next === undefined) {
      clock.expire();
      next = power.pending ? "stop" : this.#step(Math.max(1, lookAt - engine.exit.instructions));
      exits += 1;
      // Outside work of a deterministic machine ends, for the guest, at the instruction that began it.
      if (inputs.blocked) next ??= "turn";
      if (exits >= EXITS_PER_LOOK || engine.exit.instructions >= lookAt) {
        clock.look();
        exits = 0;
        lookAt = engine.exit.instructions + QUANTUM;
        if (pace.nowNs() - startNs >= SLICE_NS) next ??= "turn";
      }
    }
    this.#runNs += pace.nowNs() - startNs;
    return next;
  }

  /** Runs to the next exit and answers it; undefined to go on. */
  #step(quantum: number): Next | undefined {
    const { engine, clock, power } = this.#parts;
    const kind = engine.run(BOOT_CPU, quantum, clock.runDeadlineNs);
    switch (kind) {
      case EXIT.io:
        this.#portAccess();
        return undefined;
      case EXIT.mmio:
        this.#memoryAccess();
        return undefined;
      case EXIT.hlt:
        return this.#skipsIdle() ? undefined : "idle";
      case EXIT.intack:
        engine.exit.answer(this.#acknowledge(), 0);
        return undefined;
      case EXIT.eoi:
        this.#endOfInterrupt(engine.exit.detail);
        return undefined;
      case EXIT.budget:
        return undefined;
      case EXIT.kick:
      case EXIT.debug:
        return "turn";
      case EXIT.shutdown:
        power.finish({ kind: "crash", reason: "triple fault", dump: engine.dump(BOOT_CPU) });
        return "stop";
      case EXIT.error:
        power.finish({ kind: "crash", reason: `engine: ${engine.lastError()}`, dump: engine.dump(BOOT_CPU) });
        return "stop";
      default:
        return assertNever(kind);
    }
  }

  #portAccess(): void {
    const { engine, ports } = this.#parts;
    const { exit } = engine;
    // A port access is 1, 2 or 4 bytes wide by the instruction set.
    const size = exit.size as AccessSize;
    if (exit.isWrite) ports.write(exit.address, size, exit.dataLow);
    else exit.answer(ports.read(exit.address, size), 0);
  }

  #memoryAccess(): void {
    const { engine, mmio } = this.#parts;
    const { exit } = engine;
    const size = exit.size as AccessSize | 8;
    if (exit.isWrite) {
      mmio.write(exit.address, size, exit.dataLow, exit.dataHigh);
    } else {
      const low = mmio.read(exit.address, size);
      exit.answer(low, mmio.high);
    }
  }

  #acknowledge(): number {
    try {
      return this.#parts.acknowledge();
    } catch (error) {
      this.#parts.onFault("pic", error);
      return 0;
    }
  }

  #endOfInterrupt(vector: number): void {
    try {
      this.#parts.endOfInterrupt(vector);
    } catch (error) {
      this.#parts.onFault("ioapic", error);
    }
  }

  /** Next guest time at which a halted machine has something to do. */
  #wakeNs(): number {
    const { engine, clock } = this.#parts;
    return Math.min(engine.exit.wakeDeadlineNs, clock.nextDeadlineNs);
  }

  /** True when a halt is over at once, because its end is (almost) now or time is not the host's. */
  #skipsIdle(): boolean {
    const { clock, inputs, power } = this.#parts;
    const wakeNs = this.#wakeNs();
    if (inputs.pending || inputs.blocked || power.pending) return false;
    if (wakeNs === Number.POSITIVE_INFINITY || clock.waitNs(wakeNs) > SHORTEST_SLEEP_NS) return false;
    clock.resume(wakeNs);
    return true;
  }

  /** Sleeps until the halted guest's next deadline, or until something arrives. */
  async #idle(): Promise<void> {
    const { clock, inputs, power, pace } = this.#parts;
    const wakeNs = this.#wakeNs();
    let reachedNs = 0;
    let slept = false;
    while (!inputs.pending && !inputs.blocked && !power.pending && reachedNs === 0) {
      const waitNs = wakeNs === Number.POSITIVE_INFINITY ? wakeNs : clock.waitNs(wakeNs);
      if (waitNs <= SHORTEST_SLEEP_NS) {
        reachedNs = wakeNs;
      } else {
        await pace.sleep(waitNs);
        slept = true;
      }
    }
    // A sleep is a turn of the event loop too; without either, what is outside could never get in.
    if (!slept) await pace.turn();
    if (!clock.deterministic || reachedNs > 0) clock.resume(reachedNs);
  }

  /** Waits while the guest may not run: its output is not taken, or (deterministic) outside work is under way. */
  async #standStill(): Promise<void> {
    const { inputs, power, pace, clock } = this.#parts;
    let stood = false;
    for (let backlog = this.#parts.backlog(); !power.pending; backlog = this.#parts.backlog()) {
      if (backlog !== undefined) backlog.then(() => pace.wake());
      else if (!inputs.blocked) break;
      stood = true;
      await pace.sleep(Number.POSITIVE_INFINITY);
    }
    if (stood && !clock.deterministic) clock.resume(0);
  }

  /** Between two exits: ends the machine, or resets it and goes on. */
  async #stop(): Promise<MachineEnd | undefined> {
    const { engine, power, clock } = this.#parts;
    if (power.end !== undefined) return power.end;
    const reason = power.takeReset();
    if (reason === undefined) return undefined;
    if (this.#options.onReset === "exit") return { kind: "reset", reason };
    this.#resets += 1;
    engine.reset();
    try {
      await this.#parts.reboot();
    } catch (error) {
      const cause = error instanceof VmError ? `${error.message} (${error.code})` : String(error);
      return {
        kind: "crash",
        reason: `the guest was reset and cannot be booted again: ${cause}`,
        dump: engine.dump(BOOT_CPU),
      };
    }
    this.#parts.onReset(reason);
    clock.resume(0);
    return undefined;
  }
}
