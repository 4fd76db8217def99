/**
 * The south bridge's odd ports (ICH9 datasheet, 13.7): NMI status and control 0x61 with the speaker's timer gate, port
 * 0x92 with A20 and fast reset, reset control 0xCF9, and the POST code port 0x80.
 *
 * The A20 gate is kept for guests that ask whether it is open; address line 20 is never masked, as on processors
 * that no longer have the pin. Left out: the speaker's sound, NMI from SERR# and IOCHK# (nothing raises them).
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState } from "./device.js";
import type { Pit8254 } from "./pit8254.js";
import { SavedState } from "./saved-state.js";

const PORT = { nmiControl: 0x61, post: 0x80, fastControl: 0x92, resetControl: 0xcf9 } as const;
/** Port 0x61: the low four bits are ours to keep; refresh toggles, OUT2 is counter 2's output. */
const NMI_CONTROL = { speakerGate: 0x01, writable: 0x0f, refreshToggle: 0x10, speakerOutput: 0x20 } as const;
/** Half a period of the refresh toggle: the DRAM refresh request every 15.085 us. */
const REFRESH_NS = 15_085;
const FAST_CONTROL = { reset: 0x01, a20: 0x02 } as const;
const RESET_CONTROL = { systemReset: 0x02, resetProcessor: 0x04, fullReset: 0x08 } as const;
const STATE_VERSION = 1;

/** The gate of address line 20, which port 0x92 and the keyboard controller both move: the last mover wins. */
export class A20Gate {
  /** Open, as firmware leaves it. */
  enabled = true;
}

/**
 * Takes byte accesses at 0x61, 0x80, 0x92 and 0xCF9. The last lies within the PCI host bridge's ports, which hands
 * byte accesses there on to this device.
 */
export class SystemControl extends BytePorts implements Device {
  readonly name = "system-control";
  readonly #context: DeviceContext;
  readonly #pit: Pit8254;
  readonly #a20: A20Gate;
  #nmiControl = 0;
  #fastControl = 0;
  #resetControl = 0;
  #postCode = 0;

  constructor(context: DeviceContext, pit: Pit8254, a20: A20Gate) {
    super();
    this.#context = context;
    this.#pit = pit;
    this.#a20 = a20;
  }

  /** Claims the ports on `bus`, all but 0xCF9. */
  attach(bus: PortBus): void {
    for (const port of [PORT.nmiControl, PORT.post, PORT.fastControl]) bus.claim(port, 1, this);
  }

  /** The last POST code written, 0..255: how far firmware or a test came. */
  get postCode(): number {
    return this.#postCode;
  }

  reset(): void {
    this.#nmiControl = 0;
    this.#fastControl = 0;
    this.#resetControl = 0;
    this.#postCode = 0;
    this.#a20.enabled = true;
    this.#pit.setSpeakerGate(false);
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      nmiControl: this.#nmiControl,
      fastControl: this.#fastControl,
      resetControl: this.#resetControl,
      postCode: this.#postCode,
      a20: this.#a20.enabled,
    };
  }

  /** The speaker's gate itself is part of the timer's state. */
  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#nmiControl = saved.integer("nmiControl", 0, NMI_CONTROL.writable);
    this.#fastControl = saved.integer("fastControl", 0, 0xff);
    this.#resetControl = saved.integer("resetControl", 0, 0xff);
    this.#postCode = saved.integer("postCode", 0, 0xff);
    this.#a20.enabled = saved.boolean("a20");
  }

  protected readByte(port: number): number {
    switch (port) {
      case PORT.nmiControl:
        return this.#readNmiControl();
      case PORT.fastControl:
        return (this.#fastControl & ~FAST_CONTROL.a20) | (this.#a20.enabled ? FAST_CONTROL.a20 : 0);
      case PORT.resetControl:
        return this.#resetControl;
      default:
        return this.#postCode;
    }
  }

  protected writeByte(port: number, value: number): void {
    switch (port) {
      case PORT.nmiControl:
        this.#nmiControl = value & NMI_CONTROL.writable;
        this.#pit.setSpeakerGate((value & NMI_CONTROL.speakerGate) !== 0);
        break;
      case PORT.fastControl:
        this.#writeFastControl(value);
        break;
      case PORT.resetControl:
        this.#writeResetControl(value);
        break;
      default:
        this.#postCode = value;
        break;
    }
  }

  #readNmiControl(): number {
    const refresh = Math.floor(this.#context.clock.nowNs() / REFRESH_NS) % 2 === 1 ? NMI_CONTROL.refreshToggle : 0;
    return this.#nmiControl | refresh | (this.#pit.speakerOutput() ? NMI_CONTROL.speakerOutput : 0);
  }

  #writeFastControl(value: number): void {
    const pulses = (value & ~this.#fastControl & FAST_CONTROL.reset) !== 0;
    this.#fastControl = value;
    this.#a20.enabled = (value & FAST_CONTROL.a20) !== 0;
    if (pulses) this.#context.power.reset("fast reset (port 0x92)");
  }

  /** A rise of RST_CPU resets; the other bits say how far, and here every reset is a whole one (ICH9, 13.7.5). */
  #writeResetControl(value: number): void {
    const rises = (value & ~this.#resetControl & RESET_CONTROL.resetProcessor) !== 0;
    this.#resetControl = value & (RESET_CONTROL.systemReset | RESET_CONTROL.resetProcessor | RESET_CONTROL.fullReset);
    if (rises) this.#context.power.reset("reset control register (port 0xCF9)");
  }
}
