/**
 * MSI-X: a function's table of message vectors and its pending bits, both in one region of the function's own
 * (PCI Local Bus 3.0, 6.8.2). A message that may not be sent yet (vector or function masked, bus mastering off)
 * stays pending and is sent once when it may.
 */
import type { MsiSink } from "../devices/device.js";
import { invariant } from "../errors.js";
import type { AccessSize, MmioHandler } from "./access.js";
import type { PciBar, PciFunction, PciSavedFields, PciSavedPart } from "./pci-function.js";
import { RegisterBlock } from "./pci-registers.js";

const CAPABILITY_MSIX = 0x11;
const CONTROL_ENABLE = 0x8000;
const CONTROL_FUNCTION_MASK = 0x4000;
const ENTRY_BYTES = 16;
const ENTRY_DATA = 8;
const ENTRY_CONTROL = 12;
const ENTRY_MASKED = 0x1;
const PAGE = 4096;

export class Msix implements MmioHandler {
  readonly name: string;
  readonly #vectors: number;
  readonly #sink: MsiSink;
  readonly #table: RegisterBlock;
  readonly #pending: RegisterBlock;
  readonly #pendingOffset: number;
  #pci: PciFunction | undefined;
  /** Offset of the capability's body in configuration space; message control is its first word. */
  #capability = 0;

  /** `vectors` is 1..2048. */
  constructor(name: string, vectors: number, sink: MsiSink) {
    invariant(vectors >= 1 && vectors <= 2048, "MSI-X has 1 to 2048 vectors");
    this.name = name;
    this.#vectors = vectors;
    this.#sink = sink;
    this.#table = new RegisterBlock(vectors * ENTRY_BYTES);
    this.#pending = new RegisterBlock(Math.ceil(vectors / 64) * 8);
    this.#pendingOffset = Math.max(PAGE / 2, 2 ** Math.ceil(Math.log2(vectors * ENTRY_BYTES)));
    this.#maskAll();
  }

  /** The region that holds table and pending bits, at base address register `index`. */
  bar(index: number): PciBar {
    return { index, kind: "memory32", sizeBytes: 2 * this.#pendingOffset, handler: this };
  }

  /** Adds the capability to the function whose register `barIndex` is `bar(barIndex)`. */
  install(pci: PciFunction, barIndex: number): void {
    const body = new RegisterBlock(10);
    body.view.setUint16(0, this.#vectors - 1, true);
    body.view.setUint32(2, barIndex, true);
    body.view.setUint32(6, this.#pendingOffset | barIndex, true);
    const writable = new RegisterBlock(10);
    writable.view.setUint16(0, CONTROL_ENABLE | CONTROL_FUNCTION_MASK, true);
    this.#pci = pci;
    this.#capability = pci.addCapability({
      id: CAPABILITY_MSIX,
      body: body.bytes,
      writable: writable.bytes,
      afterWrite: () => this.#controlChanged(),
    });
    pci.onCommand(() => this.#sendPending());
  }

  /** Whether the function signals by messages instead of its pin. */
  get enabled(): boolean {
    return (this.#control & CONTROL_ENABLE) !== 0;
  }

  get vectors(): number {
    return this.#vectors;
  }

  /** Sends vector `vector` (0..vectors-1), or makes it pending while it is masked. Nothing while MSI-X is disabled. */
  trigger(vector: number): void {
    if (!this.enabled || vector >= this.#vectors) return;
    if (this.#mayNotSend(vector)) this.#setPending(vector, true);
    else this.#send(vector);
  }

  readMmio(offset: number, size: AccessSize): number {
    return offset < this.#pendingOffset
      ? this.#table.read(offset, size)
      : this.#pending.read(offset - this.#pendingOffset, size);
  }

  /** Pending bits are read-only. Accesses narrower than a doubleword, undefined in the specification, merge. */
  writeMmio(offset: number, size: AccessSize, value: number): void {
    if (offset >= this.#pendingOffset) return;
    this.#table.write(offset, size, value);
    this.#sendPending();
  }

  reset(): void {
    this.#table.bytes.fill(0);
    this.#pending.bytes.fill(0);
    this.#maskAll();
  }

  save(): PciSavedPart {
    return {
      table: Buffer.from(this.#table.bytes).toString("base64"),
      pending: Buffer.from(this.#pending.bytes).toString("base64"),
    };
  }

  /** The function is loaded before. */
  load(saved: PciSavedFields): void {
    this.#table.bytes.set(saved.bytes("table", this.#table.bytes.length));
    this.#pending.bytes.set(saved.bytes("pending", this.#pending.bytes.length));
    this.#pci?.setMessageSignalled(this.enabled);
  }

  get #control(): number {
    return this.#pci?.view.getUint16(this.#capability, true) ?? 0;
  }

  #controlChanged(): void {
    this.#pci?.setMessageSignalled(this.enabled);
    this.#sendPending();
  }

  #maskAll(): void {
    for (let vector = 0; vector < this.#vectors; vector++) {
      this.#table.view.setUint32(vector * ENTRY_BYTES + ENTRY_CONTROL, ENTRY_MASKED, true);
    }
  }

  #mayNotSend(vector: number): boolean {
    const control = this.#table.view.getUint32(vector * ENTRY_BYTES + ENTRY_CONTROL, true);
    return (
      (control & ENTRY_MASKED) !== 0 || (this.#control & CONTROL_FUNCTION_MASK) !== 0 || this.#pci?.busMaster !== true
    );
  }

  #sendPending(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.#vectors; vector++) {
      if (!this.#isPending(vector) || this.#mayNotSend(vector)) continue;
      this.#setPending(vector, false);
      this.#send(vector);
    }
  }

  #send(vector: number): void {
    const entry = vector * ENTRY_BYTES;
    const high = this.#table.view.getUint32(entry + 4, true);
    const address = high * 2 ** 32 + ((this.#table.view.getUint32(entry, true) & ~0x3) >>> 0);
    this.#sink.send(address, this.#table.view.getUint32(entry + ENTRY_DATA, true));
  }

  #isPending(vector: number): boolean {
    return ((this.#pending.bytes[vector >>> 3] ?? 0) & (1 << (vector & 7))) !== 0;
  }

  #setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 7);
    const byte = this.#pending.bytes[vector >>> 3] ?? 0;
    this.#pending.bytes[vector >>> 3] = pending ? byte | bit : byte & ~bit;
  }
}
