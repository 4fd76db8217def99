/**
 * The block device (virtio 1.3, 5.2) in front of one `Disk`. Requests run concurrently and complete in any order:
 * RAM is read when a write is submitted, and written at the boundary where a read's completion is delivered.
 * Left out: several queues, zoned devices, secure erase, lifetime, geometry.
 */
import type { AccessSize } from "../../bus/access.js";
import { RegisterBlock } from "../../bus/pci-registers.js";
import { assertNever } from "../../errors.js";
import type { Disk } from "../../storage/disk.js";
import type { DeviceContext, Outcome, StateValue } from "../device.js";
import type { SavedState } from "../saved-state.js";
import {
  BLOCK_STATUS,
  type BlockLimits,
  type BlockRequest,
  type BlockStatus,
  HEADER_BYTES,
  parseRequest,
  SECTOR_BYTES,
} from "./block-request.js";
import type { DescriptorChain } from "./chain.js";
import { VIRTIO_ID, type VirtioModel, type VirtioTransport } from "./model.js";

/** Feature bits (5.2.3). */
const FEATURE = {
  sizeMax: 1,
  segMax: 2,
  readOnly: 5,
  blockSize: 6,
  flush: 9,
  topology: 10,
  configWce: 11,
  discard: 13,
  writeZeroes: 14,
} as const;

/** struct virtio_blk_config (5.2.4). */
const CONFIG = {
  capacity: 0,
  sizeMax: 8,
  segMax: 12,
  blockSize: 20,
  physicalBlockExponent: 24,
  minimumIoSize: 26,
  optimalIoSize: 28,
  writeback: 32,
  numQueues: 34,
  maxDiscardSectors: 36,
  maxDiscardSegments: 40,
  discardAlignment: 44,
  maxWriteZeroesSectors: 48,
  maxWriteZeroesSegments: 52,
  writeZeroesMayUnmap: 56,
} as const;
const CONFIG_BYTES = 60;

const QUEUE = 0;
const QUEUE_SIZE = 256;
/** A chain has a header and a status besides its data. */
const MAX_SEGMENTS = QUEUE_SIZE - 2;
const MAX_SEGMENT_BYTES = 64 * 1024;
/** No further request is taken up while those in flight hold more than this, which bounds the host's memory. */
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;
const MAX_RANGES = 16;
const MAX_RANGE_BYTES = 4 * 1024 * 1024;
/** Guests align to 4 KiB blocks, the page and usual sector of what lies below. */
const PHYSICAL_BLOCK_EXPONENT = 3;
const IDENTITY_BYTES = 20;
const NOTHING = new Uint8Array(0);

/** A request that the disk is working on. `bytes` is how much host memory it holds. */
interface InFlight {
  readonly chain: DescriptorChain;
  readonly bytes: number;
}

export class VirtioBlock implements VirtioModel {
  readonly deviceId = VIRTIO_ID.block;
  readonly classCode = 0x01_80_00;
  readonly features: number;
  readonly queueSizes = [QUEUE_SIZE] as const;
  readonly name: string;
  readonly #context: DeviceContext;
  readonly #disk: Disk;
  readonly #limits: BlockLimits;
  readonly #config = new RegisterBlock(CONFIG_BYTES);
  readonly #inFlight = new Set<InFlight>();
  #inFlightBytes = 0;
  /**
   * Operations that a reset has orphaned but the disk has not finished. Nothing new is taken up before they are done,
   * or an old write might land on top of a new one.
   */
  #orphans = 0;
  /** Heads of chains that were in flight when the machine was saved; they are carried out again. */
  #toRepeat: number[] = [];
  #transport: VirtioTransport | undefined;

  constructor(context: DeviceContext, disk: Disk, name = "virtio-blk") {
    this.#context = context;
    this.#disk = disk;
    this.name = name;
    this.#limits = {
      sizeBytes: disk.sizeBytes,
      readOnly: disk.readOnly,
      maxRequestBytes: MAX_SEGMENTS * MAX_SEGMENT_BYTES,
      maxRanges: MAX_RANGES,
      maxRangeBytes: MAX_RANGE_BYTES,
    };
    this.features = offeredFeatures(disk.readOnly);
    this.#layOutConfig();
  }

  connect(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.#config.read(offset, size);
  }

  /** Only the cache mode can be written, and only when the driver has accepted CONFIG_WCE (5.2.5). */
  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (offset !== CONFIG.writeback || size !== 1 || this.#transport?.accepted(FEATURE.configWce) !== true) return;
    this.#config.bytes[CONFIG.writeback] = value & 1;
  }

  processQueue(): void {
    const transport = this.#transport;
    if (transport === undefined || this.#orphans > 0) return;
    const queue = transport.queue(QUEUE);
    for (let head = this.#toRepeat.shift(); head !== undefined; head = this.#toRepeat.shift()) {
      const chain = queue.reopen(head);
      if (chain !== undefined) this.#submit(transport, chain);
    }
    while (transport.live && this.#inFlightBytes < MAX_IN_FLIGHT_BYTES) {
      const chain = queue.pop();
      if (chain === undefined) break;
      this.#submit(transport, chain);
    }
    queue.publish();
  }

  reset(): void {
    this.#orphans += this.#inFlight.size;
    this.#inFlight.clear();
    this.#inFlightBytes = 0;
    this.#toRepeat = [];
    this.#config.bytes[CONFIG.writeback] = 1;
  }

  /** Requests in flight are saved by their heads: carrying one out twice does no harm, none is lost. */
  save(): { readonly [key: string]: StateValue } {
    const heads = [...this.#toRepeat, ...[...this.#inFlight].map(({ chain }) => chain.head)];
    const bytes = Buffer.from(Uint16Array.from(heads).buffer);
    return { writeback: this.#config.bytes[CONFIG.writeback] === 1, inFlight: bytes.toString("base64") };
  }

  load(saved: SavedState): void {
    this.reset();
    this.#config.bytes[CONFIG.writeback] = saved.boolean("writeback") ? 1 : 0;
    const heads = saved.bytes("inFlight");
    const count = Math.min(heads.length >>> 1, QUEUE_SIZE);
    const view = new DataView(heads.buffer, heads.byteOffset, heads.byteLength);
    this.#toRepeat = Array.from({ length: count }, (_, index) => view.getUint16(2 * index, true));
  }

  #submit(transport: VirtioTransport, chain: DescriptorChain): void {
    const request = parseRequest(chain, this.#limits);
    if (request === undefined) {
      transport.fail("a block request has no header or no status byte");
      return;
    }
    const data = request.kind === "write" ? new Uint8Array(request.range.length) : NOTHING;
    if (!chain.read(HEADER_BYTES, data)) this.#complete(transport, chain, BLOCK_STATUS.ioError, NOTHING);
    else if (request.kind === "refused") this.#complete(transport, chain, request.status, NOTHING);
    else if (request.kind === "identify") this.#identify(transport, chain);
    else this.#start(chain, request.kind === "read" ? request.range.length : data.length, this.#operate(request, data));
  }

  /** Carries a request out; resolves with the bytes for the driver. */
  async #operate(
    request: Exclude<BlockRequest, { kind: "refused" | "identify" }>,
    data: Uint8Array,
  ): Promise<Uint8Array> {
    const disk = this.#disk;
    switch (request.kind) {
      case "read": {
        const target = new Uint8Array(request.range.length);
        if (target.length > 0) await disk.read(request.range.offset, target);
        return target;
      }
      case "write":
        if (data.length > 0) await disk.write(request.range.offset, data);
        break;
      case "discard":
        for (const { offset, length } of request.ranges) await disk.discard(offset, length);
        break;
      case "writeZeroes":
        for (const { offset, length } of request.ranges) await disk.writeZeroes(offset, length);
        break;
      case "flush":
        await disk.flush();
        return NOTHING;
      default:
        assertNever(request);
    }
    if (this.#writesThrough) await disk.flush();
    return NOTHING;
  }

  #start(chain: DescriptorChain, bytes: number, operation: Promise<Uint8Array>): void {
    const entry: InFlight = { chain, bytes };
    this.#inFlight.add(entry);
    this.#inFlightBytes += bytes;
    this.#context.inputs.whenDone(operation, (outcome) => this.#finish(entry, outcome));
  }

  #finish(entry: InFlight, outcome: Outcome<Uint8Array>): void {
    const transport = this.#transport;
    if (transport === undefined) return;
    if (!this.#inFlight.delete(entry)) {
      this.#orphans -= 1;
      if (this.#orphans === 0) transport.kick(QUEUE);
      return;
    }
    const wasFull = this.#inFlightBytes >= MAX_IN_FLIGHT_BYTES;
    this.#inFlightBytes -= entry.bytes;
    if (!transport.live) return;
    if (outcome.ok) this.#complete(transport, entry.chain, BLOCK_STATUS.ok, outcome.value);
    else {
      this.#context.warn(this.name, `the disk failed: ${String(outcome.error)}`);
      this.#complete(transport, entry.chain, BLOCK_STATUS.ioError, NOTHING);
    }
    transport.queue(QUEUE).publish();
    if (wasFull) transport.kick(QUEUE);
  }

  /** Writes data and status to the driver and gives the chain back, unpublished yet. */
  #complete(transport: VirtioTransport, chain: DescriptorChain, status: BlockStatus, data: Uint8Array): void {
    const delivered = chain.write(0, data) ? status : BLOCK_STATUS.ioError;
    if (!chain.write(chain.writableBytes - 1, new Uint8Array([delivered]))) {
      transport.fail("a block request's status byte is not in RAM");
      return;
    }
    // Used length counts from the start of the writable part (2.7.8.2): a failed read promises none of its data.
    const whole = delivered === BLOCK_STATUS.ok || chain.writableBytes === 1;
    transport.queue(QUEUE).push(chain, whole ? data.length + 1 : 0);
  }

  #identify(transport: VirtioTransport, chain: DescriptorChain): void {
    const identity = new Uint8Array(IDENTITY_BYTES);
    new TextEncoder().encodeInto(this.#disk.id, identity);
    if (chain.writableBytes - 1 < IDENTITY_BYTES) this.#complete(transport, chain, BLOCK_STATUS.ioError, NOTHING);
    else this.#complete(transport, chain, BLOCK_STATUS.ok, identity);
  }

  /** Without a driver that flushes, every write must be durable when it completes (5.2.6.2). */
  get #writesThrough(): boolean {
    if (this.#transport?.accepted(FEATURE.configWce) === true) return this.#config.bytes[CONFIG.writeback] === 0;
    return this.#transport?.accepted(FEATURE.flush) !== true;
  }

  #layOutConfig(): void {
    const { view } = this.#config;
    const sectors = this.#disk.sizeBytes / SECTOR_BYTES;
    view.setUint32(CONFIG.capacity, sectors % 2 ** 32, true);
    view.setUint32(CONFIG.capacity + 4, Math.floor(sectors / 2 ** 32), true);
    view.setUint32(CONFIG.sizeMax, MAX_SEGMENT_BYTES, true);
    view.setUint32(CONFIG.segMax, MAX_SEGMENTS, true);
    view.setUint32(CONFIG.blockSize, SECTOR_BYTES, true);
    view.setUint8(CONFIG.physicalBlockExponent, PHYSICAL_BLOCK_EXPONENT);
    view.setUint16(CONFIG.minimumIoSize, 1 << PHYSICAL_BLOCK_EXPONENT, true);
    view.setUint8(CONFIG.writeback, 1);
    view.setUint16(CONFIG.numQueues, 1, true);
    view.setUint32(CONFIG.maxDiscardSectors, MAX_RANGE_BYTES / SECTOR_BYTES, true);
    view.setUint32(CONFIG.maxDiscardSegments, MAX_RANGES, true);
    view.setUint32(CONFIG.discardAlignment, 1 << PHYSICAL_BLOCK_EXPONENT, true);
    view.setUint32(CONFIG.maxWriteZeroesSectors, MAX_RANGE_BYTES / SECTOR_BYTES, true);
    view.setUint32(CONFIG.maxWriteZeroesSegments, MAX_RANGES, true);
  }
}

function offeredFeatures(readOnly: boolean): number {
  const always = [
    FEATURE.sizeMax,
    FEATURE.segMax,
    FEATURE.blockSize,
    FEATURE.flush,
    FEATURE.topology,
    FEATURE.configWce,
  ];
  const bits = [...always, ...(readOnly ? [FEATURE.readOnly] : [FEATURE.discard, FEATURE.writeZeroes])];
  return bits.reduce((features, bit) => features | (1 << bit), 0);
}
