/**
 * Chips with an 8-bit data bus on the port bus: the ISA bus controller turns a wider access into byte cycles on
 * ascending ports, so that such a chip only ever sees bytes.
 */
import type { AccessSize, PortHandler } from "./access.js";

/** A port handler that is written for bytes alone. */
export abstract class BytePorts implements PortHandler {
  abstract readonly name: string;

  readPort(port: number, size: AccessSize): number {
    if (size === 1) return this.readByte(port);
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.readByte(port + i) << (8 * i);
    return value >>> 0;
  }

  writePort(port: number, size: AccessSize, value: number): void {
    if (size === 1) {
      this.writeByte(port, value & 0xff);
      return;
    }
    for (let i = 0; i < size; i++) this.writeByte(port + i, (value >>> (8 * i)) & 0xff);
  }

  /** One byte read cycle; returns 0..0xff. */
  protected abstract readByte(port: number): number;
  /** One byte write cycle; `value` is 0..0xff. */
  protected abstract writeByte(port: number, value: number): void;
}
