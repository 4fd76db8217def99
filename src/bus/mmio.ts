/**
 * The memory bus: regions of guest-physical addresses that devices answer, looked up by binary search behind a
 * last-hit cache. Accesses of 8 bytes reach devices as two of 4, low half first; an access that crosses the end of a
 * region is split into bytes; where nothing answers, reads give all ones and writes vanish.
 * Fixed regions (`claim`) may not overlap: that would be our bug. Windows that the guest places (`map`, PCI BARs)
 * may lie anywhere: fixed regions win over them, and the earlier mapped window wins over the later.
 */
import { invariant } from "../errors.js";
import { type AccessSize, floating, type MmioHandler } from "./access.js";
import type { BusWindow, FaultListener } from "./ports.js";

/** Where a handler stands: addresses base..base+length-1. */
interface Region {
  readonly base: number;
  readonly length: number;
  readonly handler: MmioHandler;
}

/** A stretch of addresses that one region answers once overlaps are settled: start..end-1. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly region: Region;
}

export class MmioBus {
  readonly #fixed: Region[] = [];
  readonly #windows: MmioWindow[] = [];
  /** Disjoint and ascending. */
  #spans: Span[] = [];
  #lastHit: Span | undefined;
  #high = 0;
  readonly #onFault: FaultListener;

  constructor(onFault: FaultListener) {
    this.#onFault = onFault;
  }

  /** Gives `length` bytes from physical address `base` to `handler` for good. */
  claim(base: number, length: number, handler: MmioHandler): void {
    invariant(base >= 0 && length > 0, `${handler.name} claims an empty region`);
    for (const other of this.#fixed) {
      const apart = base + length <= other.base || other.base + other.length <= base;
      invariant(apart, `${handler.name} and ${other.handler.name} both claim 0x${base.toString(16)}`);
    }
    this.#fixed.push({ base, length, handler });
    this.#settle();
  }

  /** Gives a window of `length` bytes to `handler`, to be moved and unmapped at run time. */
  map(base: number, length: number, handler: MmioHandler): BusWindow {
    const window = new MmioWindow(length, handler, () => this.#settle());
    this.#windows.push(window);
    window.move(base);
    return window;
  }

  /** High 32 bits of the last 8-byte read; zero after narrower ones. */
  get high(): number {
    return this.#high;
  }

  /** Returns the value read at a width of 1, 2, 4 or 8 bytes: the low 32 bits, the rest in `high`. Never throws. */
  read(address: number, size: AccessSize | 8): number {
    if (size !== 8) {
      this.#high = 0;
      return this.#read(address, size);
    }
    const low = this.#read(address, 4);
    this.#high = this.#read(address + 4, 4);
    return low;
  }

  /** Writes 1, 2, 4 or 8 bytes; `high` holds bits 32..63 of the widest. Never throws. */
  write(address: number, size: AccessSize | 8, low: number, high = 0): void {
    if (size !== 8) {
      this.#write(address, size, low);
      return;
    }
    this.#write(address, 4, low);
    this.#write(address + 4, 4, high);
  }

  #read(address: number, size: AccessSize): number {
    const span = this.#find(address);
    if (size === 1 || this.#isWhole(span, address, size)) return this.#readSpan(span, address, size);
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readSpan(this.#find(address + i), address + i, 1) << (8 * i);
    return value >>> 0;
  }

  #write(address: number, size: AccessSize, value: number): void {
    const span = this.#find(address);
    if (size === 1 || this.#isWhole(span, address, size)) {
      this.#writeSpan(span, address, size, value);
      return;
    }
    for (let i = 0; i < size; i++) {
      this.#writeSpan(this.#find(address + i), address + i, 1, (value >>> (8 * i)) & 0xff);
    }
  }

  #isWhole(span: Span | undefined, address: number, size: AccessSize): boolean {
    return span === undefined ? this.#find(address + size - 1) === undefined : address + size <= span.end;
  }

  #readSpan(span: Span | undefined, address: number, size: AccessSize): number {
    if (span === undefined) return floating(size);
    const { handler, base } = span.region;
    try {
      return handler.readMmio(address - base, size);
    } catch (error) {
      this.#onFault(handler.name, error);
      return floating(size);
    }
  }

  #writeSpan(span: Span | undefined, address: number, size: AccessSize, value: number): void {
    if (span === undefined) return;
    const { handler, base } = span.region;
    try {
      handler.writeMmio(address - base, size, value);
    } catch (error) {
      this.#onFault(handler.name, error);
    }
  }

  #find(address: number): Span | undefined {
    const last = this.#lastHit;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    let low = 0;
    let high = this.#spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const span = this.#spans[middle];
      if (span === undefined || address < span.start) high = middle;
      else if (address >= span.end) low = middle + 1;
      else {
        this.#lastHit = span;
        return span;
      }
    }
    return undefined;
  }

  /** Cuts all regions into disjoint spans, strongest claim first: each takes what is still free. */
  #settle(): void {
    let spans: Span[] = [];
    const regions = [...this.#fixed];
    for (const { base, length, handler } of this.#windows) {
      if (base !== undefined) regions.push({ base, length, handler });
    }
    for (const region of regions) {
      const taken: Span[] = [];
      let start = region.base;
      const end = region.base + region.length;
      for (const span of spans) {
        if (span.end <= start || span.start >= end) continue;
        if (span.start > start) taken.push({ start, end: span.start, region });
        start = Math.max(start, span.end);
      }
      if (start < end) taken.push({ start, end, region });
      spans = [...spans, ...taken].sort((a, b) => a.start - b.start);
    }
    this.#spans = spans;
    this.#lastHit = undefined;
  }
}

/** A guest-placed range and where it is now. */
class MmioWindow implements BusWindow {
  readonly length: number;
  readonly handler: MmioHandler;
  readonly #changed: () => void;
  #base: number | undefined;

  constructor(length: number, handler: MmioHandler, changed: () => void) {
    this.length = length;
    this.handler = handler;
    this.#changed = changed;
  }

  get base(): number | undefined {
    return this.#base;
  }

  move(base: number): void {
    this.#base = Number.isSafeInteger(base + this.length) && base >= 0 ? base : undefined;
    this.#changed();
  }

  unmap(): void {
    if (this.#base === undefined) return;
    this.#base = undefined;
    this.#changed();
  }
}
