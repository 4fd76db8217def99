/**
 * What a block request says (virtio 1.3, 5.2.6): header, data and status byte found in a chain of any shape, checked
 * against the disk, and turned into bytes and offsets. Nothing is carried out here.
 */
import { RegisterBlock } from "../../bus/pci-registers.js";
import type { DescriptorChain } from "./chain.js";

/** All addressing is in units of 512 bytes, whatever the block size (5.2.6). */
export const SECTOR_BYTES = 512;
/** struct virtio_blk_req up to its data: type, reserved, sector. */
export const HEADER_BYTES = 16;

/** Values of the status byte. */
export const BLOCK_STATUS = { ok: 0, ioError: 1, unsupported: 2 } as const;
export type BlockStatus = (typeof BLOCK_STATUS)[keyof typeof BLOCK_STATUS];

const TYPE = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
/** struct virtio_blk_discard_write_zeroes: sector, num_sectors, flags. */
const RANGE_BYTES = 16;
const RANGE_UNMAP = 0x1;

/** A stretch of the disk in bytes. */
export interface DiskRange {
  readonly offset: number;
  readonly length: number;
}

export type BlockRequest =
  | { readonly kind: "read" | "write"; readonly range: DiskRange }
  | { readonly kind: "discard" | "writeZeroes"; readonly ranges: readonly DiskRange[] }
  | { readonly kind: "flush" }
  | { readonly kind: "identify" }
  | { readonly kind: "refused"; readonly status: BlockStatus };

/** What requests are checked against. */
export interface BlockLimits {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Most bytes that one read or write may move. */
  readonly maxRequestBytes: number;
  /** Most ranges that one discard or write-zeroes request may name, and most bytes that one of them may span. */
  readonly maxRanges: number;
  readonly maxRangeBytes: number;
}

/** Understands a chain; undefined when it has no whole header in RAM or no room for the status byte. */
export function parseRequest(chain: DescriptorChain, limits: BlockLimits): BlockRequest | undefined {
  const header = new RegisterBlock(HEADER_BYTES);
  if (chain.writableBytes < 1 || !chain.read(0, header.bytes)) return undefined;
  const type = header.view.getUint32(0, true);
  const sector = header.view.getUint32(12, true) * 2 ** 32 + header.view.getUint32(8, true);
  switch (type) {
    case TYPE.in:
      return transfer("read", sector, chain.writableBytes - 1, limits);
    case TYPE.out:
      return transfer("write", sector, chain.readableBytes - HEADER_BYTES, limits);
    case TYPE.discard:
      return ranges("discard", chain, limits);
    case TYPE.writeZeroes:
      return ranges("writeZeroes", chain, limits);
    case TYPE.flush:
      return { kind: "flush" };
    case TYPE.getId:
      return { kind: "identify" };
    default:
      return refused(BLOCK_STATUS.unsupported);
  }
}

function transfer(kind: "read" | "write", sector: number, length: number, limits: BlockLimits): BlockRequest {
  if (kind === "write" && limits.readOnly) return refused(BLOCK_STATUS.ioError);
  if (length % SECTOR_BYTES !== 0 || length > limits.maxRequestBytes) return refused(BLOCK_STATUS.ioError);
  const range = { offset: sector * SECTOR_BYTES, length };
  return fits(range, limits) ? { kind, range } : refused(BLOCK_STATUS.ioError);
}

function ranges(kind: "discard" | "writeZeroes", chain: DescriptorChain, limits: BlockLimits): BlockRequest {
  if (limits.readOnly) return refused(BLOCK_STATUS.ioError);
  const bytes = chain.readableBytes - HEADER_BYTES;
  if (bytes % RANGE_BYTES !== 0 || bytes > limits.maxRanges * RANGE_BYTES) return refused(BLOCK_STATUS.ioError);
  const list = new RegisterBlock(bytes);
  if (!chain.read(HEADER_BYTES, list.bytes)) return refused(BLOCK_STATUS.ioError);
  const found: DiskRange[] = [];
  for (let at = 0; at < bytes; at += RANGE_BYTES) {
    const sector = list.view.getUint32(at + 4, true) * 2 ** 32 + list.view.getUint32(at, true);
    const range = { offset: sector * SECTOR_BYTES, length: list.view.getUint32(at + 8, true) * SECTOR_BYTES };
    // 5.2.6.2: unknown flags, and "unmap" in a discard, are unsupported.
    const allowed = kind === "writeZeroes" ? RANGE_UNMAP : 0;
    if ((list.view.getUint32(at + 12, true) & ~allowed) !== 0) return refused(BLOCK_STATUS.unsupported);
    if (range.length > limits.maxRangeBytes || !fits(range, limits)) return refused(BLOCK_STATUS.ioError);
    if (range.length > 0) found.push(range);
  }
  return { kind, ranges: found };
}

function fits(range: DiskRange, limits: BlockLimits): boolean {
  return range.offset + range.length <= limits.sizeBytes;
}

function refused(status: BlockStatus): BlockRequest {
  return { kind: "refused", status };
}
