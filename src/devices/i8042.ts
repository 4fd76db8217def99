/**
 * 8042 keyboard controller (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller"): commands at 0x64, data at 0x60, configuration byte, output port with A20 and the reset pulse, IRQ 1
 * and IRQ 12. Behind it sit an idle keyboard and an idle mouse, which answer commands and never move.
 *
 * One byte at a time stands in the output buffer; the devices' further bytes wait until the guest has read it.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState, IrqPin } from "./device.js";
import { Ps2Keyboard, Ps2Mouse } from "./ps2.js";
import { encodeBytes, SavedState } from "./saved-state.js";
import type { A20Gate } from "./system-control.js";

const DATA_PORT = 0x60;
const COMMAND_PORT = 0x64;
const KEYBOARD_IRQ = 1;
const AUX_IRQ = 12;
const RAM_BYTES = 32;

const STATUS = { outputFull: 0x01, systemFlag: 0x04, lastWasCommand: 0x08, unlocked: 0x10, auxData: 0x20 } as const;
/** The configuration byte, RAM byte 0. */
const CONFIG = {
  keyboardIrq: 0x01,
  auxIrq: 0x02,
  systemFlag: 0x04,
  keyboardDisabled: 0x10,
  auxDisabled: 0x20,
  translate: 0x40,
} as const;
const COMMAND = {
  readRam: 0x20,
  writeRam: 0x60,
  disableAux: 0xa7,
  enableAux: 0xa8,
  testAux: 0xa9,
  selfTest: 0xaa,
  testKeyboard: 0xab,
  disableKeyboard: 0xad,
  enableKeyboard: 0xae,
  readInputPort: 0xc0,
  readOutputPort: 0xd0,
  writeOutputPort: 0xd1,
  writeKeyboardBuffer: 0xd2,
  writeAuxBuffer: 0xd3,
  writeAux: 0xd4,
  readTestInputs: 0xe0,
  pulse: 0xf0,
} as const;
const OUTPUT = { resetHigh: 0x01, a20: 0x02, keyboardFull: 0x10, auxFull: 0x20 } as const;
const SELF_TEST_PASSED = 0x55;
const INTERFACE_TEST_PASSED = 0x00;
/** Keyboard not locked. */
const INPUT_PORT = 0x80;
const STATE_VERSION = 1;

/** Where the byte in the output buffer came from. */
type Source = "none" | "controller" | "keyboard" | "aux";
const SOURCES: readonly Source[] = ["none", "controller", "keyboard", "aux"];

export class I8042 extends BytePorts implements Device {
  readonly name = "i8042";
  readonly #context: DeviceContext;
  readonly #a20: A20Gate;
  readonly #keyboardIrq: IrqPin;
  readonly #auxIrq: IrqPin;
  readonly #keyboard = new Ps2Keyboard();
  readonly #mouse = new Ps2Mouse();
  readonly #ram = new Uint8Array(RAM_BYTES);
  #output = 0;
  #source: Source = "none";
  #lastWasCommand = false;
  /** The command whose data byte is due at port 0x60, or 0. */
  #awaited = 0;

  constructor(context: DeviceContext, a20: A20Gate) {
    super();
    this.#context = context;
    this.#a20 = a20;
    this.#keyboardIrq = context.irq(KEYBOARD_IRQ);
    this.#auxIrq = context.irq(AUX_IRQ);
    this.reset();
  }

  /** Claims ports 0x60 and 0x64 on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(DATA_PORT, 1, this);
    bus.claim(COMMAND_PORT, 1, this);
  }

  /** As firmware leaves it: tested, keyboard translated, no interrupts. */
  reset(): void {
    this.#keyboard.reset();
    this.#mouse.reset();
    this.#ram.fill(0);
    this.#config = CONFIG.systemFlag | CONFIG.auxDisabled | CONFIG.translate;
    this.#source = "none";
    this.#output = 0;
    this.#lastWasCommand = false;
    this.#awaited = 0;
    this.#update();
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      ram: encodeBytes(this.#ram),
      output: this.#output,
      source: SOURCES.indexOf(this.#source),
      lastWasCommand: this.#lastWasCommand,
      awaited: this.#awaited,
      keyboard: this.#keyboard.save(),
      mouse: this.#mouse.save(),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#ram.set(saved.bytes("ram", RAM_BYTES));
    this.#output = saved.integer("output", 0, 0xff);
    this.#source = SOURCES[saved.integer("source", 0, SOURCES.length - 1)] ?? "none";
    this.#lastWasCommand = saved.boolean("lastWasCommand");
    this.#awaited = saved.integer("awaited", 0, 0xff);
    this.#keyboard.load(saved.part("keyboard"));
    this.#mouse.load(saved.part("mouse"));
    this.#update();
  }

  protected readByte(port: number): number {
    if (port === COMMAND_PORT) return this.#status();
    this.#source = "none";
    // The lines fall with the buffer, so that the next byte is an edge of its own.
    this.#setIrqs();
    const value = this.#output;
    this.#update();
    return value;
  }

  protected writeByte(port: number, value: number): void {
    this.#lastWasCommand = port === COMMAND_PORT;
    if (port === COMMAND_PORT) this.#command(value);
    else this.#data(value);
    this.#update();
  }

  #status(): number {
    return (
      STATUS.unlocked |
      (this.#source !== "none" ? STATUS.outputFull : 0) |
      (this.#source === "aux" ? STATUS.auxData : 0) |
      (this.#lastWasCommand ? STATUS.lastWasCommand : 0) |
      ((this.#config & CONFIG.systemFlag) !== 0 ? STATUS.systemFlag : 0)
    );
  }

  #command(command: number): void {
    this.#awaited = 0;
    if (command >= COMMAND.pulse) {
      // Zeroes pulse the low four lines of the output port; line 0 is the processor's reset.
      if ((command & 1) === 0) this.#context.power.reset("keyboard controller (port 0x64)");
      return;
    }
    if (command >= COMMAND.writeRam && command < COMMAND.writeRam + RAM_BYTES) {
      this.#awaited = command;
      return;
    }
    if (command >= COMMAND.readRam && command < COMMAND.readRam + RAM_BYTES) {
      this.#answer(this.#ram[command - COMMAND.readRam] ?? 0);
      return;
    }
    switch (command) {
      case COMMAND.writeOutputPort:
      case COMMAND.writeKeyboardBuffer:
      case COMMAND.writeAuxBuffer:
      case COMMAND.writeAux:
        this.#awaited = command;
        break;
      case COMMAND.selfTest:
        this.#config |= CONFIG.systemFlag;
        this.#answer(SELF_TEST_PASSED);
        break;
      case COMMAND.testKeyboard:
      case COMMAND.testAux:
        this.#answer(INTERFACE_TEST_PASSED);
        break;
      case COMMAND.disableKeyboard:
        this.#config |= CONFIG.keyboardDisabled;
        break;
      case COMMAND.enableKeyboard:
        this.#config &= ~CONFIG.keyboardDisabled;
        break;
      case COMMAND.disableAux:
        this.#config |= CONFIG.auxDisabled;
        break;
      case COMMAND.enableAux:
        this.#config &= ~CONFIG.auxDisabled;
        break;
      case COMMAND.readInputPort:
        this.#answer(INPUT_PORT);
        break;
      case COMMAND.readOutputPort:
        this.#answer(this.#outputPort());
        break;
      case COMMAND.readTestInputs:
        this.#answer(0);
        break;
      default:
        this.#context.warn(this.name, `unknown command 0x${command.toString(16)}`);
        break;
    }
  }

  #data(value: number): void {
    const command = this.#awaited;
    this.#awaited = 0;
    switch (command) {
      case 0:
        // Sending to the keyboard opens its interface.
        this.#config &= ~CONFIG.keyboardDisabled;
        this.#keyboard.receive(value);
        break;
      case COMMAND.writeOutputPort:
        this.#a20.enabled = (value & OUTPUT.a20) !== 0;
        if ((value & OUTPUT.resetHigh) === 0) this.#context.power.reset("keyboard controller output port");
        break;
      case COMMAND.writeKeyboardBuffer:
        this.#fill(value, "keyboard");
        break;
      case COMMAND.writeAuxBuffer:
        this.#fill(value, "aux");
        break;
      case COMMAND.writeAux:
        this.#config &= ~CONFIG.auxDisabled;
        this.#mouse.receive(value);
        break;
      default:
        this.#ram[command - COMMAND.writeRam] = value;
        break;
    }
  }

  /** An answer of the controller itself; it takes the place of an unread byte, as the real buffer has but one. */
  #answer(value: number): void {
    this.#fill(value, "controller");
  }

  #fill(value: number, source: Source): void {
    this.#source = "none";
    this.#setIrqs();
    this.#output = value;
    this.#source = source;
  }

  #outputPort(): number {
    return (
      OUTPUT.resetHigh |
      (this.#a20.enabled ? OUTPUT.a20 : 0) |
      (this.#source === "controller" || this.#source === "keyboard" ? OUTPUT.keyboardFull : 0) |
      (this.#source === "aux" ? OUTPUT.auxFull : 0)
    );
  }

  /** Moves the next byte a device has sent into the empty output buffer; a disabled interface holds its clock low. */
  #update(): void {
    if (this.#source === "none" && (this.#config & CONFIG.keyboardDisabled) === 0) {
      const byte = this.#keyboard.send((this.#config & CONFIG.translate) !== 0);
      if (byte !== undefined) this.#fill(byte, "keyboard");
    }
    if (this.#source === "none" && (this.#config & CONFIG.auxDisabled) === 0) {
      const byte = this.#mouse.send();
      if (byte !== undefined) this.#fill(byte, "aux");
    }
    this.#setIrqs();
  }

  #setIrqs(): void {
    const keyboardFull = this.#source === "controller" || this.#source === "keyboard";
    this.#keyboardIrq.set(keyboardFull && (this.#config & CONFIG.keyboardIrq) !== 0);
    this.#auxIrq.set(this.#source === "aux" && (this.#config & CONFIG.auxIrq) !== 0);
  }

  get #config(): number {
    return this.#ram[0] ?? 0;
  }

  set #config(value: number) {
    this.#ram[0] = value;
  }
}
