/**
 * The port bus: 65,536 byte addresses, each answered by at most one device. A lookup is one load from a table.
 * An access that spans devices is split into byte cycles, as the ISA bus does; nothing answers with all ones.
 * Fixed ports (`claim`) may not overlap: that would be our bug. Windows that the guest places (`map`, PCI I/O BARs)
 * may lie anywhere: fixed ports win over them, and the earlier mapped window wins over the later.
 */
import { invariant } from "../errors.js";
import { type AccessSize, floating, type PortHandler } from "./access.js";

const PORTS = 0x1_0000;

/** Told when a device's handler throws, which is a bug of ours; the access is answered as by an empty bus. */
export type FaultListener = (device: string, error: unknown) => void;

/** A range of addresses that a device holds at run time, placed by the guest. */
export interface BusWindow {
  /** Moves the window; any address is accepted, parts outside the bus never answer. */
  move(first: number): void;
  /** Takes the window off the bus; `move` puts it back. */
  unmap(): void;
}

interface Claim {
  readonly first: number;
  readonly count: number;
  readonly handler: PortHandler;
}

export class PortBus {
  /** Slot of each port; 0 is nobody. */
  readonly #slots = new Uint16Array(PORTS);
  /** Handlers by slot. */
  readonly #handlers: (PortHandler | undefined)[] = [undefined];
  readonly #fixed: Claim[] = [];
  readonly #windows: Window[] = [];
  readonly #onFault: FaultListener;

  constructor(onFault: FaultListener) {
    this.#onFault = onFault;
  }

  /** Gives ports first..first+count-1 to `handler` for good. */
  claim(first: number, count: number, handler: PortHandler): void {
    invariant(first >= 0 && count > 0 && first + count <= PORTS, `${handler.name} claims ports outside the bus`);
    for (const other of this.#fixed) {
      const apart = first + count <= other.first || other.first + other.count <= first;
      invariant(apart, `${handler.name} and ${other.handler.name} both claim port 0x${first.toString(16)}`);
    }
    this.#fixed.push({ first, count, handler });
    this.#slots.fill(this.#slotOf(handler), first, first + count);
  }

  /** Gives a window of `count` ports to `handler`, to be moved and unmapped at run time. */
  map(first: number, count: number, handler: PortHandler): BusWindow {
    this.#slotOf(handler);
    const window = new Window(count, handler, (from, to) => this.#refill(from, to));
    this.#windows.push(window);
    window.move(first);
    return window;
  }

  /** Returns the unsigned value read, `size` bytes wide. Never throws. */
  read(port: number, size: AccessSize): number {
    const slot = this.#slots[port] ?? 0;
    if (size === 1 || this.#isWhole(port, size, slot)) return this.#readSlot(slot, port, size);
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readSlot(this.#slots[port + i] ?? 0, port + i, 1) << (8 * i);
    return value >>> 0;
  }

  /** Writes the low `size` bytes of `value`. Never throws. */
  write(port: number, size: AccessSize, value: number): void {
    const slot = this.#slots[port] ?? 0;
    if (size === 1 || this.#isWhole(port, size, slot)) {
      this.#writeSlot(slot, port, size, value);
      return;
    }
    for (let i = 0; i < size; i++) {
      this.#writeSlot(this.#slots[port + i] ?? 0, port + i, 1, (value >>> (8 * i)) & 0xff);
    }
  }

  #isWhole(port: number, size: AccessSize, slot: number): boolean {
    for (let i = 1; i < size; i++) if ((this.#slots[port + i] ?? 0) !== slot) return false;
    return true;
  }

  #readSlot(slot: number, port: number, size: AccessSize): number {
    const handler = this.#handlers[slot];
    if (handler === undefined) return floating(size);
    try {
      return handler.readPort(port, size);
    } catch (error) {
      this.#onFault(handler.name, error);
      return floating(size);
    }
  }

  #writeSlot(slot: number, port: number, size: AccessSize, value: number): void {
    const handler = this.#handlers[slot];
    if (handler === undefined) return;
    try {
      handler.writePort(port, size, value);
    } catch (error) {
      this.#onFault(handler.name, error);
    }
  }

  #slotOf(handler: PortHandler): number {
    const known = this.#handlers.indexOf(handler);
    if (known > 0) return known;
    invariant(this.#handlers.length < PORTS, "the port bus is out of slots");
    return this.#handlers.push(handler) - 1;
  }

  /** Works out the owners of ports from..to-1 afresh, weakest claim first. */
  #refill(from: number, to: number): void {
    this.#slots.fill(0, from, to);
    const layers: Claim[] = [];
    for (const { count, handler, first } of this.#windows) {
      if (first !== undefined) layers.push({ first, count, handler });
    }
    for (const layer of [...layers.reverse(), ...this.#fixed]) {
      const start = Math.max(from, layer.first);
      const end = Math.min(to, layer.first + layer.count);
      if (start < end) this.#slots.fill(this.#slotOf(layer.handler), start, end);
    }
  }
}

/** A guest-placed range and where it is now. */
class Window implements BusWindow {
  readonly count: number;
  readonly handler: PortHandler;
  readonly #changed: (from: number, to: number) => void;
  #first: number | undefined;

  constructor(count: number, handler: PortHandler, changed: (from: number, to: number) => void) {
    this.count = count;
    this.handler = handler;
    this.#changed = changed;
  }

  get first(): number | undefined {
    return this.#first;
  }

  move(first: number): void {
    this.unmap();
    if (first < 0 || first + this.count > PORTS) return;
    this.#first = first;
    this.#changed(first, first + this.count);
  }

  unmap(): void {
    const first = this.#first;
    if (first === undefined) return;
    this.#first = undefined;
    this.#changed(first, first + this.count);
  }
}
