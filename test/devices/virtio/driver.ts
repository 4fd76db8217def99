/**
 * A guest's virtio driver in small, for tests: finds the device through ECAM, walks its capabilities, negotiates,
 * lays out rings in guest RAM and talks to them the way a kernel does. Malformed rings are written with the same parts.
 */
import { MmioBus } from "../../../src/bus/mmio.js";
import { PciBus } from "../../../src/bus/pci.js";
import { assignResources } from "../../../src/bus/pci-resources.js";
import { PortBus } from "../../../src/bus/ports.js";
import { ECAM_BASE, ECAM_BYTES, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, PciHost } from "../../../src/devices/pci-host.js";
import type { VirtioModel } from "../../../src/devices/virtio/model.js";
import { VirtioPci } from "../../../src/devices/virtio/pci-transport.js";
import { invariant } from "../../../src/errors.js";
import { VirtualContext, type VirtualContextOptions } from "../virtual-context.js";

export const SLOT = 3;
/** GSI of INTA# in slot 3. */
export const GSI = 16 + SLOT;
export const STATUS = { acknowledge: 1, driver: 2, driverOk: 4, featuresOk: 8, needsReset: 0x40 } as const;
export const INDIRECT = 28;
export const EVENT_INDEX = 29;
const VERSION_1 = 32;

const CAPABILITY_VENDOR = 0x09;
const CAPABILITY_MSIX = 0x11;
const MSIX_ADDRESS = 0xfee0_0000;

/** A board with one virtio device in slot 3, configured as firmware leaves it. */
export class Board {
  readonly context: VirtualContext;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly pci: PciBus;
  readonly host: PciHost;
  readonly device: VirtioPci;
  /** What devices threw; must stay empty. */
  readonly faults: unknown[] = [];
  #nextFree = 0x1000;

  constructor(makeModel: (context: VirtualContext) => VirtioModel, options: VirtualContextOptions = {}) {
    this.context = new VirtualContext({ memoryBytes: 4 << 20, ...options });
    const onFault = (_device: string, error: unknown): void => {
      this.faults.push(error);
    };
    this.ports = new PortBus(onFault);
    this.mmio = new MmioBus(onFault);
    this.pci = new PciBus(this.ports, this.mmio, (gsi) => this.context.irq(gsi));
    this.host = new PciHost(this.pci);
    this.ports.claim(PCI_CONFIG_PORT, PCI_CONFIG_PORTS, this.host);
    this.mmio.claim(ECAM_BASE, ECAM_BYTES, this.host);
    this.device = new VirtioPci(this.context, this.pci, SLOT, makeModel(this.context));
    assignResources(this.pci);
  }

  /** Guest RAM for the test's own use, zeroed at power-on. */
  allocate(bytes: number, alignment = 16): number {
    const address = Math.ceil(this.#nextFree / alignment) * alignment;
    this.#nextFree = address + bytes;
    invariant(this.context.memory.read(address, new Uint8Array(bytes)), "the board has enough RAM for the test");
    return address;
  }

  /** Address in ECAM of a configuration register of the device. */
  config(offset: number): number {
    return ECAM_BASE + (SLOT << 15) + offset;
  }

  put(address: number, bytes: Uint8Array | string): void {
    const raw = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    invariant(this.context.memory.write(address, raw), "the test writes RAM");
  }

  putWord(address: number, value: number): void {
    this.put(address, Uint8Array.of(value & 0xff, (value >>> 8) & 0xff));
  }

  getWord(address: number): number {
    const bytes = this.context.memory.bytesAt(address, 2);
    return (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
  }

  getDoubleword(address: number): number {
    return this.getWord(address) + this.getWord(address + 2) * 0x1_0000;
  }

  text(address: number, length: number): string {
    return new TextDecoder().decode(this.context.memory.bytesAt(address, length));
  }
}

/** A stretch of RAM for the device, and whether it may write there. */
export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

export function describe16(address: number, length: number, flags: number, next: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, address % 2 ** 32, true);
  view.setUint32(4, Math.floor(address / 2 ** 32), true);
  view.setUint32(8, length, true);
  view.setUint16(12, flags, true);
  view.setUint16(14, next, true);
  return new Uint8Array(view.buffer);
}

/** One split ring, driven from the driver's side. */
export class DriverQueue {
  readonly board: Board;
  readonly index: number;
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  readonly notifyAddress: number;
  #nextDescriptor = 0;
  #availableIndex = 0;
  #seenUsed = 0;

  constructor(board: Board, index: number, size: number, notifyAddress: number) {
    this.board = board;
    this.index = index;
    this.size = size;
    this.notifyAddress = notifyAddress;
    this.descriptors = board.allocate(16 * size, 16);
    this.available = board.allocate(6 + 2 * size, 2);
    this.used = board.allocate(6 + 8 * size, 4);
  }

  writeDescriptor(index: number, address: number, length: number, flags: number, next = 0): void {
    this.board.put(this.descriptors + 16 * index, describe16(address, length, flags, next));
  }

  /** Makes a chain available without telling the device; returns its head. */
  add(buffers: readonly Buffer[]): number {
    const head = this.#nextDescriptor;
    buffers.forEach((buffer, position) => {
      const last = position === buffers.length - 1;
      const index = this.#take();
      const flags = (last ? 0 : 1) | (buffer.writable ? 2 : 0);
      this.writeDescriptor(index, buffer.address, buffer.length, flags, last ? 0 : this.#nextDescriptor);
    });
    this.offer(head);
    return head;
  }

  /** As `add`, through an indirect table, behind `direct` chained ones. */
  addIndirect(buffers: readonly Buffer[], direct: readonly Buffer[] = []): number {
    const table = this.board.allocate(16 * buffers.length);
    buffers.forEach((buffer, position) => {
      const last = position === buffers.length - 1;
      const flags = (last ? 0 : 1) | (buffer.writable ? 2 : 0);
      this.board.put(table + 16 * position, describe16(buffer.address, buffer.length, flags, position + 1));
    });
    const head = this.#nextDescriptor;
    for (const { address, length } of direct) {
      const index = this.#take();
      this.writeDescriptor(index, address, length, 1, this.#nextDescriptor);
    }
    this.writeDescriptor(this.#take(), table, 16 * buffers.length, 4);
    this.offer(head);
    return head;
  }

  /** Puts a head into the available ring. */
  offer(head: number): void {
    this.board.putWord(this.available + 4 + 2 * (this.#availableIndex % this.size), head);
    this.#availableIndex = (this.#availableIndex + 1) & 0xffff;
    this.board.putWord(this.available + 2, this.#availableIndex);
  }

  notify(): void {
    this.board.mmio.write(this.notifyAddress, 2, this.index);
  }

  submit(buffers: readonly Buffer[]): number {
    const head = this.add(buffers);
    this.notify();
    return head;
  }

  /** Used entries not seen before. */
  collect(): { readonly id: number; readonly length: number }[] {
    const entries: { id: number; length: number }[] = [];
    const index = this.board.getWord(this.used + 2);
    for (; this.#seenUsed !== index; this.#seenUsed = (this.#seenUsed + 1) & 0xffff) {
      const entry = this.used + 4 + 8 * (this.#seenUsed % this.size);
      entries.push({ id: this.board.getDoubleword(entry), length: this.board.getDoubleword(entry + 4) });
    }
    return entries;
  }

  get usedEvent(): number {
    return this.available + 4 + 2 * this.size;
  }

  get availableEvent(): number {
    return this.used + 4 + 8 * this.size;
  }

  #take(): number {
    const index = this.#nextDescriptor;
    this.#nextDescriptor = (index + 1) % this.size;
    return index;
  }
}

interface Structure {
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
  /** Offset of the capability in configuration space. */
  readonly at: number;
}

export class Driver {
  readonly board: Board;
  readonly structures = new Map<number, Structure>();
  readonly msixCapability: number;
  readonly #notifyMultiplier: number;

  constructor(board: Board) {
    this.board = board;
    board.mmio.write(board.config(0x04), 2, 0x0006);
    let msix = 0;
    let multiplier = 0;
    for (let at = this.config(0x34, 1); at !== 0; at = this.config(at + 1, 1)) {
      const id = this.config(at, 1);
      if (id === CAPABILITY_MSIX) msix = at;
      if (id !== CAPABILITY_VENDOR) continue;
      const type = this.config(at + 3, 1);
      this.structures.set(type, {
        at,
        bar: this.config(at + 4, 1),
        offset: this.config(at + 8, 4),
        length: this.config(at + 12, 4),
      });
      if (type === 2) multiplier = this.config(at + 16, 4);
    }
    this.msixCapability = msix;
    this.#notifyMultiplier = multiplier;
  }

  config(offset: number, size: 1 | 2 | 4): number {
    return this.board.mmio.read(this.board.config(offset), size);
  }

  barAddress(bar: number): number {
    return (this.config(0x10 + 4 * bar, 4) & ~0xf) >>> 0;
  }

  structure(type: number): number {
    const structure = this.structures.get(type);
    invariant(structure !== undefined, `the device has a structure of type ${type}`);
    return this.barAddress(structure.bar) + structure.offset;
  }

  common(field: number, size: 1 | 2 | 4): number {
    return this.board.mmio.read(this.structure(1) + field, size);
  }

  setCommon(field: number, size: 1 | 2 | 4, value: number): void {
    this.board.mmio.write(this.structure(1) + field, size, value);
  }

  get status(): number {
    return this.common(0x14, 1);
  }

  set status(value: number) {
    this.setCommon(0x14, 1, value);
  }

  deviceConfig(offset: number, size: 1 | 2 | 4): number {
    return this.board.mmio.read(this.structure(4) + offset, size);
  }

  /** Bit numbers offered by the device. */
  offered(): number[] {
    return [0, 1].flatMap((half) => {
      this.setCommon(0x00, 4, half);
      const bits = this.common(0x04, 4);
      return Array.from({ length: 32 }, (_, bit) => bit)
        .filter((bit) => (bits >>> bit) & 1)
        .map((bit) => bit + 32 * half);
    });
  }

  accept(bits: readonly number[]): void {
    for (const half of [0, 1]) {
      this.setCommon(0x08, 4, half);
      const word = bits.filter((bit) => bit >> 5 === half).reduce((sum, bit) => sum + 2 ** (bit & 31), 0);
      this.setCommon(0x0c, 4, word);
    }
  }

  /** Reset, then up to FEATURES_OK with VERSION_1 and `features`. */
  negotiate(features: readonly number[] = []): void {
    this.status = 0;
    this.status = STATUS.acknowledge;
    this.status = STATUS.acknowledge | STATUS.driver;
    this.accept([VERSION_1, ...features]);
    this.status = STATUS.acknowledge | STATUS.driver | STATUS.featuresOk;
    invariant((this.status & STATUS.featuresOk) !== 0, "the device takes the features");
  }

  queue(index: number, size?: number): DriverQueue {
    this.setCommon(0x16, 2, index);
    const notify = this.structure(2) + this.common(0x1e, 2) * this.#notifyMultiplier;
    const queue = new DriverQueue(this.board, index, size ?? this.common(0x18, 2), notify);
    this.setCommon(0x18, 2, queue.size);
    this.setQueueAddresses(queue.descriptors, queue.available, queue.used);
    this.setCommon(0x1c, 2, 1);
    return queue;
  }

  /** Addresses of the queue that is selected. */
  setQueueAddresses(descriptors: number, available: number, used: number): void {
    [descriptors, available, used].forEach((address, position) => {
      this.setCommon(0x20 + 8 * position, 4, address % 2 ** 32);
      this.setCommon(0x24 + 8 * position, 4, Math.floor(address / 2 ** 32));
    });
  }

  ready(): void {
    this.status = this.status | STATUS.driverOk;
  }

  /** Negotiates, sets up queue 0..count-1 and goes live. */
  start(features: readonly number[] = [], count = 1, size?: number): DriverQueue[] {
    this.negotiate(features);
    const queues = Array.from({ length: count }, (_, index) => this.queue(index, size));
    this.ready();
    return queues;
  }

  readIsr(): number {
    return this.board.mmio.read(this.structure(3), 1);
  }

  get msixTable(): number {
    const table = this.config(this.msixCapability + 4, 4);
    return this.barAddress(table & 7) + (table & ~7);
  }

  get msixPending(): number {
    const pending = this.config(this.msixCapability + 8, 4);
    return this.barAddress(pending & 7) + (pending & ~7);
  }

  setMsixControl(value: number): void {
    this.board.mmio.write(this.board.config(this.msixCapability + 2), 2, value);
  }

  setVector(vector: number, data: number, masked = false): void {
    const entry = this.msixTable + 16 * vector;
    this.board.mmio.write(entry, 4, MSIX_ADDRESS);
    this.board.mmio.write(entry + 4, 4, 0);
    this.board.mmio.write(entry + 8, 4, data);
    this.board.mmio.write(entry + 12, 4, masked ? 1 : 0);
  }
}

/** Random numbers for malformed rings: repeatable, 0..limit-1 (limit up to 2^32). */
export function randomSource(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x9e37_79b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85eb_ca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % limit;
  };
}
