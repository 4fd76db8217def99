/**
 * One descriptor chain, parsed: the buffers that the driver gave the device for one request (virtio 1.3, 2.7.5).
 * Requests may cut their bytes over any number of buffers (2.7.4.1), so devices address them by position alone.
 */
import type { GuestMemory } from "../device.js";

/** A buffer in guest-physical memory; `address` is below 2^52, `length` below 2^32. */
export interface Segment {
  readonly address: number;
  readonly length: number;
}

export class DescriptorChain {
  /** Index of the first descriptor: what the driver knows the chain by. */
  readonly head: number;
  readonly #memory: GuestMemory;
  readonly #readable: readonly Segment[];
  readonly #writable: readonly Segment[];
  /** Bytes the device may read, and bytes it may write. */
  readonly readableBytes: number;
  readonly writableBytes: number;

  constructor(head: number, memory: GuestMemory, readable: readonly Segment[], writable: readonly Segment[]) {
    this.head = head;
    this.#memory = memory;
    this.#readable = readable;
    this.#writable = writable;
    this.readableBytes = totalLength(readable);
    this.writableBytes = totalLength(writable);
  }

  /** Fills `target` from byte `position` of the readable part; false where bytes are missing or are not RAM. */
  read(position: number, target: Uint8Array): boolean {
    return forEachPiece(this.#readable, position, target, (address, piece) => this.#memory.read(address, piece));
  }

  /** Writes `source` at byte `position` of the writable part; false where there is no room or no RAM. */
  write(position: number, source: Uint8Array): boolean {
    return forEachPiece(this.#writable, position, source, (address, piece) => this.#memory.write(address, piece));
  }
}

function totalLength(segments: readonly Segment[]): number {
  let total = 0;
  for (const segment of segments) total += segment.length;
  return total;
}

/** Cuts `bytes` along the segments from `position` on; false when `copy` fails or the segments end early. */
function forEachPiece(
  segments: readonly Segment[],
  position: number,
  bytes: Uint8Array,
  copy: (address: number, piece: Uint8Array) => boolean,
): boolean {
  let skip = position;
  let done = 0;
  for (const { address, length } of segments) {
    if (done === bytes.length) break;
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const count = Math.min(length - skip, bytes.length - done);
    const piece = count === bytes.length ? bytes : bytes.subarray(done, done + count);
    if (!copy(address + skip, piece)) return false;
    done += count;
    skip = 0;
  }
  return done === bytes.length;
}
