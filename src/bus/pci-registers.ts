/**
 * A block of little-endian registers that answers accesses of any width and alignment, as configuration space,
 * MSI-X tables and virtio's configuration structures do. What a register means is its owner's business.
 */
import type { AccessSize } from "./access.js";

export class RegisterBlock {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Bytes past the end read as zero. */
  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.bytes[offset + i] ?? 0);
    return value;
  }

  /** Bytes past the end vanish. */
  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      if (offset + i < this.bytes.length) this.bytes[offset + i] = byteOf(value, i);
    }
  }
}

/** Byte `index` (0 is the lowest) of an unsigned value of at most 32 bits. */
export function byteOf(value: number, index: number): number {
  return (value >>> (8 * index)) & 0xff;
}

/** Whether an access to `offset` touches any of `length` bytes at `start`. */
export function touches(offset: number, size: number, start: number, length: number): boolean {
  return offset < start + length && offset + size > start;
}
