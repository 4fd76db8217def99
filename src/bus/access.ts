/**
 * What a bus access is: widths, handlers, and the values an empty bus answers with.
 * Addresses are JavaScript numbers (below 2^53); data is an unsigned number of at most 32 bits.
 * An 8-byte access is split by the bus into two 4-byte ones, low half first.
 */

/** Width of one access in bytes, as handlers see it. */
export type AccessSize = 1 | 2 | 4;

/** A device on the port bus. `port` is the absolute port number (0..0xffff). */
export interface PortHandler {
  readonly name: string;
  /** Returns the value read, unsigned, `size` bytes wide. */
  readPort(port: number, size: AccessSize): number;
  writePort(port: number, size: AccessSize, value: number): void;
}

/** A device on the memory bus. `offset` is in bytes from the start of the claimed region. */
export interface MmioHandler {
  readonly name: string;
  /** Returns the value read, unsigned, `size` bytes wide. */
  readMmio(offset: number, size: AccessSize): number;
  writeMmio(offset: number, size: AccessSize, value: number): void;
}

/** All ones: what a PC bus reads where nothing answers. */
export function floating(size: AccessSize): number {
  return size === 1 ? 0xff : size === 2 ? 0xffff : 0xffff_ffff;
}
