/**
 * The 256 bytes of configuration space of one conventional PCI function: which bits the guest may write, and the
 * chain of capabilities (PCI Local Bus 3.0, 6.1 and 6.7). The extended 4 KiB of PCI Express hold nothing here.
 */
import { invariant } from "../errors.js";
import type { AccessSize } from "./access.js";
import { byteOf, RegisterBlock, touches } from "./pci-registers.js";

export const CONFIG_BYTES = 256;

const STATUS = 0x06;
const STATUS_CAPABILITIES_LIST = 0x10;
const CAPABILITIES_POINTER = 0x34;
const FIRST_CAPABILITY = 0x40;

/** One entry of the capability chain. `body` is what follows the two bytes of id and link. */
export interface PciCapability {
  /** PCI Local Bus 3.0, appendix H. */
  readonly id: number;
  readonly body: Uint8Array;
  /** Bits of `body` that the guest may write; none unless given. */
  readonly writable?: Uint8Array;
  /** Called before a read that touches bytes of `body`, so that they can be refreshed. */
  readonly beforeRead?: (bodyOffset: number, size: AccessSize) => void;
  /** Called after a write that touched bytes of `body`. `bodyOffset` may be negative when the access began earlier. */
  readonly afterWrite?: (bodyOffset: number, size: AccessSize) => void;
}

interface PlacedCapability {
  readonly offset: number;
  readonly capability: PciCapability;
}

export class PciConfigSpace {
  readonly #registers = new RegisterBlock(CONFIG_BYTES);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  readonly #capabilities: PlacedCapability[] = [];
  #powerOn: Uint8Array | undefined;
  #nextCapability = FIRST_CAPABILITY;
  #lastLink = CAPABILITIES_POINTER;

  /** The registers themselves, for the function that owns them. */
  get view(): DataView {
    return this.#registers.view;
  }

  /** Gives a register its power-on value and the bits that the guest may write. */
  define(offset: number, size: AccessSize, value: number, writable = 0): void {
    invariant(this.#powerOn === undefined, "configuration space is laid out before the guest reaches it");
    this.#registers.write(offset, size, value);
    for (let i = 0; i < size; i++) this.#writable[offset + i] = byteOf(writable, i);
  }

  /** Appends a capability; returns the offset of its body in configuration space. */
  addCapability(capability: PciCapability): number {
    const offset = this.#nextCapability;
    const length = 2 + capability.body.length;
    invariant(offset + length <= CONFIG_BYTES, "capabilities fit into configuration space");
    this.define(offset, 1, capability.id);
    this.#registers.bytes.set(capability.body, offset + 2);
    if (capability.writable !== undefined) this.#writable.set(capability.writable, offset + 2);
    this.#registers.bytes[this.#lastLink] = offset;
    this.#registers.view.setUint16(
      STATUS,
      this.#registers.view.getUint16(STATUS, true) | STATUS_CAPABILITIES_LIST,
      true,
    );
    this.#lastLink = offset + 1;
    this.#nextCapability = (offset + length + 3) & ~3;
    this.#capabilities.push({ offset: offset + 2, capability });
    return offset + 2;
  }

  /** Ends the layout: what stands now is the power-on state. */
  seal(): void {
    this.#powerOn ??= this.#registers.bytes.slice();
  }

  read(offset: number, size: AccessSize): number {
    for (const { offset: start, capability } of this.#capabilities) {
      if (capability.beforeRead !== undefined && touches(offset, size, start, capability.body.length)) {
        capability.beforeRead(offset - start, size);
      }
    }
    return this.#registers.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const bytes = this.#registers.bytes;
    for (let i = 0; i < size && offset + i < CONFIG_BYTES; i++) {
      const mask = this.#writable[offset + i] ?? 0;
      bytes[offset + i] = ((bytes[offset + i] ?? 0) & ~mask) | (byteOf(value, i) & mask);
    }
    for (const { offset: start, capability } of this.#capabilities) {
      if (capability.afterWrite !== undefined && touches(offset, size, start, capability.body.length)) {
        capability.afterWrite(offset - start, size);
      }
    }
  }

  reset(): void {
    invariant(this.#powerOn !== undefined, "configuration space is sealed before it is reset");
    this.#registers.bytes.set(this.#powerOn);
  }

  save(): Uint8Array {
    return this.#registers.bytes.slice();
  }

  /** Takes over the guest-writable bits of `saved`; identity and layout stay this function's own. */
  load(saved: Uint8Array): void {
    for (let i = 0; i < CONFIG_BYTES; i++) {
      const mask = this.#writable[i] ?? 0;
      this.#registers.bytes[i] = ((this.#registers.bytes[i] ?? 0) & ~mask) | ((saved[i] ?? 0) & mask);
    }
  }
}
