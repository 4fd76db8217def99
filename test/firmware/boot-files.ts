/** Small kernels made for tests, memory that refuses what is not RAM, and reproducible mutations of files. */
import { ramSpans } from "../../src/firmware/memory-map.js";

export const MIB = 1 << 20;

/** Records writes, each of which must lie within RAM. */
export class RecordingMemory {
  readonly writes: { address: number; bytes: Uint8Array }[] = [];
  readonly #spans;

  constructor(memoryBytes: number) {
    this.#spans = ramSpans(memoryBytes);
  }

  write(address: number, bytes: Uint8Array): void {
    const inRam = this.#spans.some((s) => address >= s.address && address + bytes.length <= s.address + s.length);
    if (!inRam) throw new RangeError(`${bytes.length} bytes at 0x${address.toString(16)} are not RAM`);
    this.writes.push({ address, bytes: bytes.slice() });
  }

  /** What memory holds, zero where nothing was written. */
  read(address: number, length: number): Uint8Array {
    const found = new Uint8Array(length);
    for (const write of this.writes) {
      const from = Math.max(address, write.address);
      const to = Math.min(address + length, write.address + write.bytes.length);
      if (from < to) found.set(write.bytes.subarray(from - write.address, to - write.address), from - address);
    }
    return found;
  }

  view(address: number, length: number): DataView {
    return new DataView(this.read(address, length).buffer);
  }
}

export interface BzImageShape {
  version?: number;
  xloadflags?: number;
  relocatable?: number;
  prefAddress?: bigint;
  initSize?: number;
  alignment?: number;
  commandLineBytes?: number;
  initrdAddressMax?: number;
  loadflags?: number;
}

export const BZIMAGE_SETUP_BYTES = 2 * 512;
export const BZIMAGE_KERNEL_BYTES = 0x400;

/** A bzImage with one setup sector behind the boot sector and 1 KiB of kernel that counts up. */
export function bzImage(shape: BzImageShape = {}): Uint8Array {
  const file = new Uint8Array(BZIMAGE_SETUP_BYTES + BZIMAGE_KERNEL_BYTES);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, 1);
  view.setUint32(0x1f4, BZIMAGE_KERNEL_BYTES / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, 0x6a);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, shape.version ?? 0x20f, true);
  view.setUint8(0x211, shape.loadflags ?? 1);
  view.setUint32(0x22c, shape.initrdAddressMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, shape.alignment ?? 0x20_0000, true);
  view.setUint8(0x234, shape.relocatable ?? 1);
  view.setUint16(0x236, shape.xloadflags ?? 0x7f, true);
  view.setUint32(0x238, shape.commandLineBytes ?? 2047, true);
  view.setBigUint64(0x258, shape.prefAddress ?? 0x100_0000n, true);
  view.setUint32(0x260, shape.initSize ?? 2 * MIB, true);
  for (let at = 0; at < BZIMAGE_KERNEL_BYTES; at++) file[BZIMAGE_SETUP_BYTES + at] = at & 0xff;
  return file;
}

export const PVH_ADDRESS = 0x20_0000;
export const PVH_ENTRY = PVH_ADDRESS + 0x10;

/** An ELF kernel with one segment (64 bytes of 0x90, then zeroes up to 4 KiB) and a PVH note. */
export function pvhKernel(bits: 32 | 64): Uint8Array {
  const wide = bits === 64;
  const file = new Uint8Array(0x200);
  const view = new DataView(file.buffer);
  const word = (at: number, value: number): void => {
    if (wide) view.setBigUint64(at, BigInt(value), true);
    else view.setUint32(at, value, true);
  };
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, wide ? 62 : 3, true);
  const tableAt = 0x40;
  const entryBytes = wide ? 56 : 32;
  word(wide ? 32 : 28, tableAt);
  view.setUint16(wide ? 54 : 42, entryBytes, true);
  view.setUint16(wide ? 56 : 44, 2, true);
  const programHeader = (
    index: number,
    type: number,
    offset: number,
    address: number,
    inFile: number,
    inMemory: number,
  ): void => {
    const at = tableAt + index * entryBytes;
    view.setUint32(at, type, true);
    word(at + (wide ? 8 : 4), offset);
    word(at + (wide ? 24 : 12), address);
    word(at + (wide ? 32 : 16), inFile);
    word(at + (wide ? 40 : 20), inMemory);
    word(at + (wide ? 48 : 28), 4);
  };
  const codeAt = 0x100;
  const noteAt = 0x180;
  programHeader(0, 1, codeAt, PVH_ADDRESS, 64, 0x1000);
  file.fill(0x90, codeAt, codeAt + 64);
  const descriptorBytes = wide ? 8 : 4;
  // A note of another owner and one of Xen's of another type come first.
  const notes = new DataView(file.buffer, noteAt);
  notes.setUint32(0, 5, true);
  notes.setUint32(4, 3, true);
  notes.setUint32(8, 18, true);
  file.set(new TextEncoder().encode("Else\0"), noteAt + 12);
  for (const [at, type] of [
    [24, 6],
    [24 + 16 + descriptorBytes, 18],
  ] as const) {
    notes.setUint32(at, 4, true);
    notes.setUint32(at + 4, descriptorBytes, true);
    notes.setUint32(at + 8, type, true);
    file.set(new TextEncoder().encode("Xen\0"), noteAt + at + 12);
    notes.setUint32(at + 16, PVH_ENTRY, true);
  }
  programHeader(1, 4, noteAt, 0, 24 + 2 * (16 + descriptorBytes), 0);
  return file;
}

/** Reproducible numbers below `limit` (xorshift32). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

/** The file cut short, or with one to eight bytes changed, mostly within its first `headerBytes`. */
export function mutate(file: Uint8Array, random: (limit: number) => number, headerBytes: number): Uint8Array {
  if (random(4) === 0) return file.slice(0, random(file.length));
  const mutated = file.slice();
  for (let changes = 1 + random(8); changes > 0; changes--) {
    const at = random(8) === 0 ? random(file.length) : random(Math.min(headerBytes, file.length));
    const interesting = [0, 1, 0x7f, 0x80, 0xff];
    mutated[at] = random(2) === 0 ? random(256) : (interesting[random(interesting.length)] ?? 0);
  }
  return mutated;
}
