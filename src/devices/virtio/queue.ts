/**
 * A split virtqueue as the device sees it (virtio 1.3, 2.7). Rings are read by checked copies into staging of our own,
 * each entry once, so that the guest cannot change what has been looked at; the available ring and the descriptor
 * table are fetched together when new entries appear, which costs two copies for a whole batch.
 * What no driver may do breaks the queue (`QueueHost.fail`) and nothing more is read. Work between two calls of
 * `beginBatch` is bounded by the queue's size, because a ring may be laid over itself and never end.
 * Left out: packed rings, NOTIFY_ON_EMPTY, in-order use, VIRTIO_F_RING_RESET.
 */
import { RegisterBlock } from "../../bus/pci-registers.js";
import type { GuestMemory } from "../device.js";
import type { SavedState } from "../saved-state.js";
import { DescriptorChain, type Segment } from "./chain.js";

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_NEXT = 0x1;
const DESCRIPTOR_WRITE = 0x2;
const DESCRIPTOR_INDIRECT = 0x4;
const AVAIL_NO_INTERRUPT = 0x1;
/** Bytes before the entries of the available and used rings: flags, idx. */
const RING_HEADER = 4;
const USED_ELEMENT_BYTES = 8;
/** The longest chain we follow; drivers keep to the queue's size (2.7.5.3.1). */
const MAX_CHAIN = 1024;
/** Guest-physical addresses end here; the high word of one is at most 20 bits. */
const ADDRESS_LIMIT = 2 ** 52;
const HIGHEST_ADDRESS_WORD = 0xf_ffff;

export const MAX_QUEUE_SIZE = 1024;

/** What a queue needs of the transport it belongs to. */
export interface QueueHost {
  /** RAM as the device may reach it now. */
  readonly memory: GuestMemory;
  readonly indirectDescriptors: boolean;
  readonly eventIndex: boolean;
  /** Interrupts the driver: queue `index` has used buffers. */
  interrupt(index: number): void;
  /** The queue is broken; see `VirtioTransport.fail`. */
  fail(reason: string): void;
}

/** Where a queue's three areas lie: guest-physical addresses. */
export interface QueueAreas {
  descriptors: number;
  available: number;
  used: number;
}

export class Virtqueue {
  readonly index: number;
  readonly maxSize: number;
  readonly #host: QueueHost;
  #size: number;
  #enabled = false;
  readonly areas: QueueAreas = { descriptors: 0, available: 0, used: 0 };
  /** Next available entry to take and next used entry to write, both modulo 2^16. */
  #nextAvailable = 0;
  #nextUsed = 0;
  /** used.idx as the guest sees it. */
  #publishedUsed = 0;
  /** Entries of the fetched ring not taken yet. */
  #fetched = 0;
  /** Chains that may still be taken in this batch. */
  #budget = 0;
  #writtenEvent = -1;
  /** Staging: our copies of the available ring and the descriptor table, and used entries not published yet. */
  #available = new RegisterBlock(0);
  #descriptors = new RegisterBlock(0);
  #unpublished = new RegisterBlock(0);
  readonly #word = new RegisterBlock(2);

  constructor(index: number, maxSize: number, host: QueueHost) {
    this.index = index;
    this.maxSize = maxSize;
    this.#host = host;
    this.#size = maxSize;
  }

  get size(): number {
    return this.#size;
  }

  /** Entries; a driver may choose any power of two up to `maxSize`. Checked by `enable`. */
  set size(entries: number) {
    this.#size = entries;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Takes the queue into use; false when its size or an address breaks 2.7. */
  enable(): boolean {
    const size = this.#size;
    const { descriptors, available, used } = this.areas;
    if (size === 0 || size > this.maxSize || (size & (size - 1)) !== 0) return false;
    if (descriptors % 16 !== 0 || available % 2 !== 0 || used % 4 !== 0) return false;
    if (Math.max(descriptors, available, used) >= ADDRESS_LIMIT) return false;
    this.#allocate();
    this.#enabled = true;
    return true;
  }

  /** Starts a bounded batch: at most `size` chains are taken until the next call. */
  beginBatch(): void {
    this.#budget = this.#size;
  }

  /** Whether the last batch ended at its bound, with more perhaps waiting. */
  get cutShort(): boolean {
    return this.#enabled && this.#budget === 0;
  }

  /** Takes the next chain the driver made available; undefined when there is none, or the batch is full. */
  pop(): DescriptorChain | undefined {
    if (!this.#enabled || this.#budget === 0) return undefined;
    if (this.#fetched === 0 && !this.#fetch()) {
      if (!this.#enabled || !this.#askForEvent() || !this.#fetch()) return undefined;
    }
    const slot = this.#nextAvailable & (this.#size - 1);
    const head = this.#available.view.getUint16(RING_HEADER + 2 * slot, true);
    this.#fetched -= 1;
    this.#budget -= 1;
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    return this.#parse(head);
  }

  /** Parses a chain again that was taken before the machine was saved. */
  reopen(head: number): DescriptorChain | undefined {
    if (!this.#enabled || !this.#host.memory.read(this.areas.descriptors, this.#descriptors.bytes)) return undefined;
    return this.#parse(head);
  }

  /** Gives a chain back with `written` bytes written from the start of its writable part; `publish` shows it. */
  push(chain: DescriptorChain, written: number): void {
    if (!this.#enabled) return;
    const offset = (this.#nextUsed & (this.#size - 1)) * USED_ELEMENT_BYTES;
    this.#unpublished.view.setUint32(offset, chain.head, true);
    this.#unpublished.view.setUint32(offset + 4, written, true);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  /** Shows all chains given back to the driver, entries before index, and interrupts it if it asked for that. */
  publish(): void {
    const before = this.#publishedUsed;
    const count = (this.#nextUsed - before) & 0xffff;
    if (!this.#enabled || count === 0) return;
    const first = before & (this.#size - 1);
    const untilWrap = Math.min(count, this.#size - first);
    if (!this.#writeUsed(first, untilWrap) || !this.#writeUsed(0, count - untilWrap)) return;
    if (!this.#writeWord(this.areas.used + 2, this.#nextUsed)) return;
    this.#publishedUsed = this.#nextUsed;
    if (this.#wantsInterrupt(before)) this.#host.interrupt(this.index);
  }

  /** Forgets everything the driver set up. */
  reset(): void {
    this.#size = this.maxSize;
    this.areas.descriptors = 0;
    this.areas.available = 0;
    this.areas.used = 0;
    this.#enabled = false;
    this.#nextAvailable = 0;
    this.#nextUsed = 0;
    this.#publishedUsed = 0;
    this.#fetched = 0;
    this.#budget = 0;
    this.#writtenEvent = -1;
  }

  /** All chains given back are published before the machine is saved; fetched entries are fetched again. */
  save(): { readonly [key: string]: number | boolean } {
    return {
      size: this.#size,
      enabled: this.#enabled,
      ...this.areas,
      nextAvailable: this.#nextAvailable,
      nextUsed: this.#publishedUsed,
    };
  }

  load(saved: SavedState): void {
    this.reset();
    this.#size = saved.integer("size", 0, 0xffff);
    this.areas.descriptors = saved.integer("descriptors", 0, ADDRESS_LIMIT);
    this.areas.available = saved.integer("available", 0, ADDRESS_LIMIT);
    this.areas.used = saved.integer("used", 0, ADDRESS_LIMIT);
    this.#nextAvailable = saved.integer("nextAvailable", 0, 0xffff);
    this.#nextUsed = saved.integer("nextUsed", 0, 0xffff);
    this.#publishedUsed = this.#nextUsed;
    if (saved.boolean("enabled")) this.enable();
  }

  #allocate(): void {
    this.#available = new RegisterBlock(RING_HEADER + 2 * this.#size);
    this.#descriptors = new RegisterBlock(DESCRIPTOR_BYTES * this.#size);
    this.#unpublished = new RegisterBlock(USED_ELEMENT_BYTES * this.#size);
  }

  #break(reason: string): void {
    this.#enabled = false;
    this.#fetched = 0;
    this.#host.fail(`queue ${this.index}: ${reason}`);
  }

  /** Fetches ring and table when there are new entries; false when there are none. */
  #fetch(): boolean {
    if (!this.#host.memory.read(this.areas.available, this.#available.bytes)) {
      this.#break("the available ring is not in RAM");
      return false;
    }
    const waiting = (this.#available.view.getUint16(2, true) - this.#nextAvailable) & 0xffff;
    if (waiting === 0) return false;
    const taken = (this.#nextAvailable - this.#publishedUsed) & 0xffff;
    if (waiting + taken > this.#size) {
      this.#break(`${waiting + taken} chains are outstanding in a queue of ${this.#size}`);
      return false;
    }
    if (!this.#host.memory.read(this.areas.descriptors, this.#descriptors.bytes)) {
      this.#break("the descriptor table is not in RAM");
      return false;
    }
    this.#fetched = waiting;
    return true;
  }

  /**
   * Writes avail_event, so that the next entry made available notifies us (2.7.10). True when it was news to the
   * driver: then the ring must be looked at once more, for an entry may have come before the driver could see it.
   */
  #askForEvent(): boolean {
    if (!this.#host.eventIndex || this.#writtenEvent === this.#nextAvailable) return false;
    const field = this.areas.used + RING_HEADER + USED_ELEMENT_BYTES * this.#size;
    if (!this.#writeWord(field, this.#nextAvailable)) return false;
    this.#writtenEvent = this.#nextAvailable;
    return true;
  }

  #parse(head: number): DescriptorChain | undefined {
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    const fault = this.#follow(head, readable, writable);
    if (fault !== undefined) {
      this.#break(fault);
      return undefined;
    }
    return new DescriptorChain(head, this.#host.memory, readable, writable);
  }

  /** Walks a chain into its segments; returns what is wrong with it, if anything. */
  #follow(head: number, readable: Segment[], writable: Segment[]): string | undefined {
    let table = this.#descriptors;
    let entries = this.#size;
    let indirect = false;
    let next = head;
    for (let seen = 0; ; seen++) {
      if (next >= entries) return `descriptor ${next} is outside its table of ${entries}`;
      if (seen >= (indirect ? MAX_CHAIN : this.#size)) return "a descriptor chain is a loop or too long";
      const offset = next * DESCRIPTOR_BYTES;
      const addressHigh = table.view.getUint32(offset + 4, true);
      const address = addressHigh * 2 ** 32 + table.view.getUint32(offset, true);
      const length = table.view.getUint32(offset + 8, true);
      const flags = table.view.getUint16(offset + 12, true);
      if (addressHigh > HIGHEST_ADDRESS_WORD) return "a descriptor points past the physical address space";
      if ((flags & DESCRIPTOR_INDIRECT) !== 0) {
        if (!this.#host.indirectDescriptors) return "an indirect descriptor was not negotiated";
        if (indirect) return "an indirect table refers to a further one";
        if ((flags & DESCRIPTOR_NEXT) !== 0) return "an indirect descriptor has a successor";
        if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return `an indirect table has ${length} bytes`;
        entries = Math.min(length / DESCRIPTOR_BYTES, MAX_CHAIN);
        table = new RegisterBlock(entries * DESCRIPTOR_BYTES);
        if (!this.#host.memory.read(address, table.bytes)) return "an indirect table is not in RAM";
        indirect = true;
        next = 0;
        continue;
      }
      if ((flags & DESCRIPTOR_WRITE) !== 0) writable.push({ address, length });
      else if (writable.length === 0) readable.push({ address, length });
      else return "a readable buffer follows a writable one";
      if ((flags & DESCRIPTOR_NEXT) === 0) return undefined;
      next = table.view.getUint16(offset + 14, true);
    }
  }

  /** Whether the driver wants to hear of the entries from `before` up to now (2.7.7, 2.7.10). */
  #wantsInterrupt(before: number): boolean {
    const word = this.#host.eventIndex ? RING_HEADER + 2 * this.#size : 0;
    if (!this.#host.memory.read(this.areas.available + word, this.#word.bytes)) return true;
    const value = this.#word.view.getUint16(0, true);
    if (!this.#host.eventIndex) return (value & AVAIL_NO_INTERRUPT) === 0;
    return ((this.#nextUsed - value - 1) & 0xffff) < ((this.#nextUsed - before) & 0xffff);
  }

  #writeUsed(first: number, count: number): boolean {
    if (count === 0) return true;
    const from = first * USED_ELEMENT_BYTES;
    const elements = this.#unpublished.bytes.subarray(from, from + count * USED_ELEMENT_BYTES);
    if (this.#host.memory.write(this.areas.used + RING_HEADER + from, elements)) return true;
    this.#break("the used ring is not in RAM");
    return false;
  }

  #writeWord(address: number, value: number): boolean {
    this.#word.view.setUint16(0, value, true);
    if (this.#host.memory.write(address, this.#word.bytes)) return true;
    this.#break("the used ring is not in RAM");
    return false;
  }
}
