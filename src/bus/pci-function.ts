/**
 * One PCI function with a type 0 header: identity, command register, base address registers, capabilities, and its
 * INTx pin (PCI Local Bus 3.0, chapter 6). Devices own one and speak through it; `PciBus` places it in a slot.
 * Left out: expansion ROM, BIST, parity and system errors, power management.
 */
import type { IrqPin, StateValue } from "../devices/device.js";
import { invariant } from "../errors.js";
import type { AccessSize, MmioHandler } from "./access.js";
import { CONFIG_BYTES, type PciCapability, PciConfigSpace } from "./pci-config-space.js";
import { touches } from "./pci-registers.js";

/** Offsets in a type 0 header (PCI Local Bus 3.0, figure 6-1). */
export const PCI_HEADER = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** Bits of the command register (6.2.2). */
export const PCI_COMMAND = { io: 0x001, memory: 0x002, busMaster: 0x004, intxDisable: 0x400 } as const;

const STATUS_INTERRUPT = 0x08;
const HEADER_MULTIFUNCTION = 0x80;
const BAR_IO = 0x1;
const BAR_64BIT = 0x4;
const BAR_PREFETCHABLE = 0x8;
const BARS = 6;

export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Base class, subclass and programming interface, as 0xBBSSPP. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 1..4 for INTA#..INTD#; none unless given. */
  readonly interruptPin?: 1 | 2 | 3 | 4;
}

/** A region that the function decodes wherever the guest puts it. */
export interface PciBar {
  /** 0..5; a 64-bit register takes the next index as well. */
  readonly index: number;
  readonly kind: "memory32" | "memory64" | "io";
  /** A power of two: at least 16 for memory, 4..256 for I/O. */
  readonly sizeBytes: number;
  readonly prefetchable?: boolean;
  /** Answers accesses at offsets from the start of the region. */
  readonly handler: MmioHandler;
}

/** What a slot gives the function that sits in it. */
export interface PciSlot {
  /** The line of its INTx pin; undefined for a function without one. */
  readonly pin: IrqPin | undefined;
  /** Whether the slot holds further functions. */
  readonly multifunction: boolean;
  /** A base address or a decode enable has changed. */
  mappingChanged(): void;
}

/** A saved record under inspection, as `devices/saved-state.ts` reads them: getters throw VM_CONFIG_INVALID. */
export interface PciSavedFields {
  integer(key: string, minimum: number, maximum: number): number;
  boolean(key: string): boolean;
  bytes(key: string, length?: number): Uint8Array;
}

/** What a device embeds in its own saved state. */
export type PciSavedPart = { readonly [key: string]: StateValue };

export class PciFunction {
  readonly name: string;
  readonly bars: readonly PciBar[];
  readonly interruptPin: number;
  readonly #config = new PciConfigSpace();
  readonly #commandListeners: (() => void)[] = [];
  #slot: PciSlot | undefined;
  #interrupt = false;
  #messageSignalled = false;

  constructor(name: string, identity: PciIdentity, bars: readonly PciBar[] = []) {
    this.name = name;
    this.bars = bars;
    this.interruptPin = identity.interruptPin ?? 0;
    this.#layOut(identity);
  }

  /** Puts the function into a slot; ends its layout. Called once, by the bus. */
  attach(slot: PciSlot): void {
    invariant(this.#slot === undefined, `${this.name} sits in one slot`);
    this.#slot = slot;
    if (slot.multifunction) this.#config.define(PCI_HEADER.headerType, 1, HEADER_MULTIFUNCTION);
    this.#config.seal();
  }

  /** Appends a capability; returns the offset of its body in configuration space. Only before `attach`. */
  addCapability(capability: PciCapability): number {
    return this.#config.addCapability(capability);
  }

  /** Defines a device-specific register. Only before `attach`. */
  defineRegister(offset: number, size: AccessSize, value: number, writable = 0): void {
    this.#config.define(offset, size, value, writable);
  }

  /** Configuration space as it stands, for the device's own capabilities. */
  get view(): DataView {
    return this.#config.view;
  }

  /** Calls `listener` after every change of the command register, reset and load included. */
  onCommand(listener: () => void): void {
    this.#commandListeners.push(listener);
  }

  get command(): number {
    return this.#config.view.getUint16(PCI_HEADER.command, true);
  }

  /** Whether the function may read and write memory (and so send messages) on its own. */
  get busMaster(): boolean {
    return (this.command & PCI_COMMAND.busMaster) !== 0;
  }

  /** Where a region lies now; undefined while its decoding is off. The address may be anything the guest wrote. */
  decodedAddress(bar: PciBar): number | undefined {
    const enable = bar.kind === "io" ? PCI_COMMAND.io : PCI_COMMAND.memory;
    if ((this.command & enable) === 0) return undefined;
    const offset = PCI_HEADER.bar0 + 4 * bar.index;
    const low = this.#config.view.getUint32(offset, true);
    if (bar.kind === "io") return (low & ~0x3) >>> 0;
    const high = bar.kind === "memory64" ? this.#config.view.getUint32(offset + 4, true) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0);
  }

  /** Reads configuration space; the bus has checked that the access stays inside. */
  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.#config.write(offset, size, value);
    if (touches(offset, size, PCI_HEADER.command, 2)) this.#commandChanged();
    else if (touches(offset, size, PCI_HEADER.bar0, 4 * BARS)) this.#slot?.mappingChanged();
  }

  /** Asserts or deasserts the function's interrupt; the pin follows unless the guest has disabled it. */
  setInterrupt(asserted: boolean): void {
    this.#interrupt = asserted;
    this.#drivePin();
  }

  /** With MSI-X enabled the function never asserts its pin (6.8.2.3). */
  setMessageSignalled(enabled: boolean): void {
    this.#messageSignalled = enabled;
    this.#drivePin();
  }

  reset(): void {
    this.#config.reset();
    this.#interrupt = false;
    this.#messageSignalled = false;
    this.#commandChanged();
  }

  save(): PciSavedPart {
    return { config: Buffer.from(this.#config.save()).toString("base64"), interrupt: this.#interrupt };
  }

  load(saved: PciSavedFields): void {
    this.#config.load(saved.bytes("config", CONFIG_BYTES));
    this.#interrupt = saved.boolean("interrupt");
    this.#commandChanged();
  }

  #layOut(identity: PciIdentity): void {
    const config = this.#config;
    config.define(PCI_HEADER.vendorId, 2, identity.vendorId);
    config.define(PCI_HEADER.deviceId, 2, identity.deviceId);
    config.define(PCI_HEADER.revision, 1, identity.revision);
    config.define(PCI_HEADER.classCode, 1, identity.classCode & 0xff);
    config.define(PCI_HEADER.classCode + 1, 2, identity.classCode >>> 8);
    config.define(PCI_HEADER.subsystemVendorId, 2, identity.subsystemVendorId ?? 0);
    config.define(PCI_HEADER.subsystemId, 2, identity.subsystemId ?? 0);
    config.define(PCI_HEADER.interruptLine, 1, 0, this.interruptPin === 0 ? 0 : 0xff);
    config.define(PCI_HEADER.interruptPin, 1, this.interruptPin);
    let command = PCI_COMMAND.busMaster | PCI_COMMAND.intxDisable;
    for (const bar of this.bars) {
      command |= bar.kind === "io" ? PCI_COMMAND.io : PCI_COMMAND.memory;
      this.#layOutBar(bar);
    }
    config.define(PCI_HEADER.command, 2, 0, command);
  }

  /** Address bits below the size are read-only zeroes, which is how the guest learns the size (6.2.5.1). */
  #layOutBar(bar: PciBar): void {
    const { kind, index, sizeBytes } = bar;
    invariant((sizeBytes & (sizeBytes - 1)) === 0 && sizeBytes >= (kind === "io" ? 4 : 16), "a BAR is a power of two");
    invariant(index + (kind === "memory64" ? 1 : 0) < BARS, "a BAR has a register");
    const type =
      kind === "io" ? BAR_IO : (kind === "memory64" ? BAR_64BIT : 0) | (bar.prefetchable ? BAR_PREFETCHABLE : 0);
    const offset = PCI_HEADER.bar0 + 4 * index;
    this.#config.define(offset, 4, type, -sizeBytes >>> 0);
    if (kind === "memory64") this.#config.define(offset + 4, 4, 0, 0xffff_ffff);
  }

  #commandChanged(): void {
    this.#drivePin();
    this.#slot?.mappingChanged();
    for (const listener of this.#commandListeners) listener();
  }

  #drivePin(): void {
    const status = this.#config.view.getUint16(PCI_HEADER.status, true) & ~STATUS_INTERRUPT;
    const asserted = this.#interrupt && !this.#messageSignalled;
    this.#config.view.setUint16(PCI_HEADER.status, status | (asserted ? STATUS_INTERRUPT : 0), true);
    this.#slot?.pin?.set(asserted && (this.command & PCI_COMMAND.intxDisable) === 0);
  }
}
