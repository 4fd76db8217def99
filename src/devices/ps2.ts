/**
 * The devices behind the keyboard controller (IBM PS/2 Hardware Interface Technical Reference, "Keyboard" and "Mouse"):
 * a keyboard and a mouse that acknowledge, identify and reset themselves as theirs do, and stay idle.
 * Left out: keys and movement; nobody presses or moves.
 */
import { encodeBytes, type SavedState } from "./saved-state.js";

const ACKNOWLEDGE = 0xfa;
const RESEND = 0xfe;
const TEST_PASSED = 0xaa;
/** A device holds at most this much that the host has not fetched. */
const BUFFER_BYTES = 16;

const KEYBOARD = {
  setLeds: 0xed,
  echo: 0xee,
  scanCodeSet: 0xf0,
  identify: 0xf2,
  typematic: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  setDefault: 0xf6,
  firstKeyType: 0xf7,
  lastKeyType: 0xfd,
  resend: 0xfe,
  reset: 0xff,
} as const;
const KEYBOARD_ID = [0xab, 0x83] as const;
const DEFAULT_SCAN_CODE_SET = 2;
/** Scan code set 2 to set 1, for the bytes that this keyboard's answers hold; above 0x83 nothing is translated. */
const TRANSLATION: ReadonlyMap<number, number> = new Map([
  [0x01, 0x43],
  [0x02, 0x41],
  [0x03, 0x3f],
  [0x83, 0x41],
]);

const MOUSE = {
  scale1: 0xe6,
  scale2: 0xe7,
  resolution: 0xe8,
  status: 0xe9,
  streamMode: 0xea,
  readData: 0xeb,
  resetWrap: 0xec,
  wrap: 0xee,
  remoteMode: 0xf0,
  identify: 0xf2,
  sampleRate: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  setDefault: 0xf6,
  resend: 0xfe,
  reset: 0xff,
} as const;
const MOUSE_ID = 0;
const MOUSE_STATUS = { scale2: 0x10, enabled: 0x20, remote: 0x40 } as const;
/** A packet that says: no buttons, no movement. */
const STILL_PACKET = [0x08, 0, 0] as const;

/** The wire between a device and the controller: answers on the way, and the last one for RESEND. */
abstract class Ps2Device {
  #buffer: number[] = [];
  #last = 0;
  /** The command whose argument is due, or 0. */
  protected awaited = 0;

  reset(): void {
    this.#buffer = [];
    this.#last = 0;
    this.awaited = 0;
    this.setDefaults();
  }

  /** A byte from the host. A new command drops what the host has not fetched. */
  receive(value: number): void {
    this.#buffer = [];
    const command = this.awaited;
    this.awaited = 0;
    // What cannot be an argument is a command, and ends the one that waits.
    if (command !== 0 && value < 0xe0) this.argument(command, value);
    else this.command(value);
  }

  protected abstract setDefaults(): void;
  protected abstract command(value: number): void;
  protected abstract argument(command: number, value: number): void;

  protected answer(...bytes: number[]): void {
    this.#buffer.push(...bytes.slice(0, BUFFER_BYTES - this.#buffer.length));
  }

  protected resend(): void {
    this.answer(this.#last);
  }

  protected next(): number | undefined {
    const byte = this.#buffer.shift();
    if (byte !== undefined) this.#last = byte;
    return byte;
  }

  protected saveWire(): { buffer: string; last: number; awaited: number } {
    return { buffer: encodeBytes(Uint8Array.from(this.#buffer)), last: this.#last, awaited: this.awaited };
  }

  protected loadWire(saved: SavedState): void {
    this.#buffer = Array.from(saved.bytes("buffer"));
    this.#last = saved.integer("last", 0, 0xff);
    this.awaited = saved.integer("awaited", 0, 0xff);
  }
}

export class Ps2Keyboard extends Ps2Device {
  #scanCodeSet = DEFAULT_SCAN_CODE_SET;

  /** The next byte on the wire, translated to scan code set 1 if the controller does so. */
  send(translate: boolean): number | undefined {
    const byte = this.next();
    return byte !== undefined && translate ? (TRANSLATION.get(byte) ?? byte) : byte;
  }

  save(): { [key: string]: number | string } {
    return { ...this.saveWire(), scanCodeSet: this.#scanCodeSet };
  }

  load(saved: SavedState): void {
    this.loadWire(saved);
    this.#scanCodeSet = saved.integer("scanCodeSet", 1, 3);
  }

  protected setDefaults(): void {
    this.#scanCodeSet = DEFAULT_SCAN_CODE_SET;
  }

  protected command(value: number): void {
    switch (value) {
      case KEYBOARD.setLeds:
      case KEYBOARD.scanCodeSet:
      case KEYBOARD.typematic:
        this.awaited = value;
        this.answer(ACKNOWLEDGE);
        break;
      case KEYBOARD.echo:
        this.answer(KEYBOARD.echo);
        break;
      case KEYBOARD.identify:
        this.answer(ACKNOWLEDGE, ...KEYBOARD_ID);
        break;
      case KEYBOARD.enable:
        this.answer(ACKNOWLEDGE);
        break;
      case KEYBOARD.disable:
      case KEYBOARD.setDefault:
        this.setDefaults();
        this.answer(ACKNOWLEDGE);
        break;
      case KEYBOARD.resend:
        this.resend();
        break;
      case KEYBOARD.reset:
        this.setDefaults();
        this.answer(ACKNOWLEDGE, TEST_PASSED);
        break;
      default:
        this.answer(value >= KEYBOARD.firstKeyType && value <= KEYBOARD.lastKeyType ? ACKNOWLEDGE : RESEND);
        break;
    }
  }

  protected argument(command: number, value: number): void {
    if (command !== KEYBOARD.scanCodeSet) this.answer(ACKNOWLEDGE);
    else if (value === 0) this.answer(ACKNOWLEDGE, this.#scanCodeSet);
    else if (value <= 3) {
      this.#scanCodeSet = value;
      this.answer(ACKNOWLEDGE);
    } else {
      this.awaited = command;
      this.answer(RESEND);
    }
  }
}

export class Ps2Mouse extends Ps2Device {
  #scale2 = false;
  #enabled = false;
  #remote = false;
  #wrap = false;
  #resolution = 0;
  #sampleRate = 0;

  /** The next byte on the wire. */
  send(): number | undefined {
    return this.next();
  }

  save(): { [key: string]: number | string | boolean } {
    return {
      ...this.saveWire(),
      scale2: this.#scale2,
      enabled: this.#enabled,
      remote: this.#remote,
      wrap: this.#wrap,
      resolution: this.#resolution,
      sampleRate: this.#sampleRate,
    };
  }

  load(saved: SavedState): void {
    this.loadWire(saved);
    this.#scale2 = saved.boolean("scale2");
    this.#enabled = saved.boolean("enabled");
    this.#remote = saved.boolean("remote");
    this.#wrap = saved.boolean("wrap");
    this.#resolution = saved.integer("resolution", 0, 0xff);
    this.#sampleRate = saved.integer("sampleRate", 0, 0xff);
  }

  protected setDefaults(): void {
    this.#scale2 = false;
    this.#enabled = false;
    this.#remote = false;
    this.#wrap = false;
    this.#resolution = 2;
    this.#sampleRate = 100;
  }

  protected command(value: number): void {
    if (this.#wrap && value !== MOUSE.reset && value !== MOUSE.resetWrap) {
      this.answer(value);
      return;
    }
    switch (value) {
      case MOUSE.resolution:
      case MOUSE.sampleRate:
        this.awaited = value;
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.scale1:
      case MOUSE.scale2:
        this.#scale2 = value === MOUSE.scale2;
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.streamMode:
      case MOUSE.remoteMode:
        this.#remote = value === MOUSE.remoteMode;
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.wrap:
      case MOUSE.resetWrap:
        this.#wrap = value === MOUSE.wrap;
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.enable:
      case MOUSE.disable:
        this.#enabled = value === MOUSE.enable;
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.status:
        this.answer(ACKNOWLEDGE, this.#status(), this.#resolution, this.#sampleRate);
        break;
      case MOUSE.readData:
        this.answer(ACKNOWLEDGE, ...STILL_PACKET);
        break;
      case MOUSE.identify:
        this.answer(ACKNOWLEDGE, MOUSE_ID);
        break;
      case MOUSE.setDefault:
        this.setDefaults();
        this.answer(ACKNOWLEDGE);
        break;
      case MOUSE.resend:
        this.resend();
        break;
      case MOUSE.reset:
        this.setDefaults();
        this.answer(ACKNOWLEDGE, TEST_PASSED, MOUSE_ID);
        break;
      default:
        this.answer(RESEND);
        break;
    }
  }

  protected argument(command: number, value: number): void {
    if (command === MOUSE.resolution) this.#resolution = value;
    else this.#sampleRate = value;
    this.answer(ACKNOWLEDGE);
  }

  #status(): number {
    return (
      (this.#scale2 ? MOUSE_STATUS.scale2 : 0) |
      (this.#enabled ? MOUSE_STATUS.enabled : 0) |
      (this.#remote ? MOUSE_STATUS.remote : 0)
    );
  }
}
