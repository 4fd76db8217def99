/**
 * The debug exit port that emulators offer to test programs: a write of `value` ends the VM with status
 * `(value << 1) | 1`, which is odd and so never looks like a clean power-off. No hardware has it.
 */
import { type AccessSize, floating, type PortHandler } from "../bus/access.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState } from "./device.js";
import { SavedState } from "./saved-state.js";

/** Where test programs look for it unless told otherwise. */
export const DEBUG_EXIT_PORT = 0xf4;

const PORTS = 4;
const STATE_VERSION = 1;

export class IsaDebugExit implements Device, PortHandler {
  readonly name = "isa-debug-exit";
  readonly #context: DeviceContext;
  readonly #basePort: number;

  constructor(context: DeviceContext, basePort: number = DEBUG_EXIT_PORT) {
    this.#context = context;
    this.#basePort = basePort;
  }

  /** Claims four ports, so that a doubleword write arrives whole. */
  attach(bus: PortBus): void {
    bus.claim(this.#basePort, PORTS, this);
  }

  reset(): void {
    // Has no state.
  }

  readPort(_port: number, size: AccessSize): number {
    return floating(size);
  }

  writePort(port: number, _size: AccessSize, value: number): void {
    if (port === this.#basePort) this.#context.power.exit(((value << 1) | 1) >>> 0);
  }

  save(): DeviceState {
    return { version: STATE_VERSION };
  }

  load(state: DeviceState): void {
    new SavedState(this.name, state, STATE_VERSION);
  }
}
