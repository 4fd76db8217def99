/**
 * The common configuration structure (virtio 1.3, 4.1.4.3): feature negotiation, device status, and the set-up of
 * queues. Accesses of any width are accepted; a field acts when its last byte has been written.
 */
import type { AccessSize } from "../../bus/access.js";
import { RegisterBlock, touches } from "../../bus/pci-registers.js";
import type { StateValue } from "../device.js";
import type { SavedState } from "../saved-state.js";
import { VIRTIO_FEATURE } from "./model.js";
import type { Virtqueue } from "./queue.js";

/** Bits of the device status field (2.1). */
export const VIRTIO_STATUS = {
  acknowledge: 0x01,
  driver: 0x02,
  driverOk: 0x04,
  featuresOk: 0x08,
  needsReset: 0x40,
  failed: 0x80,
} as const;

/** "No interrupt" in a vector field. */
export const NO_VECTOR = 0xffff;

const FIELD = {
  deviceFeatureSelect: 0x00,
  deviceFeature: 0x04,
  driverFeatureSelect: 0x08,
  driverFeature: 0x0c,
  configVector: 0x10,
  numQueues: 0x12,
  status: 0x14,
  generation: 0x15,
  queueSelect: 0x16,
  queueSize: 0x18,
  queueVector: 0x1a,
  queueEnable: 0x1c,
  queueNotifyOff: 0x1e,
  queueDescriptors: 0x20,
  queueDriver: 0x28,
  queueDevice: 0x30,
} as const;
const STRUCTURE_BYTES = 0x38;

/** What the structure's registers set off. */
export interface CommonConfigHost {
  fail(reason: string): void;
  /** The driver wrote 0 to the status; the registers here are reset already. */
  reset(): void;
  /** DRIVER_OK has just been set. */
  started(): void;
}

export class CommonConfig {
  static readonly bytes = STRUCTURE_BYTES;
  /** Bits 0..31 and 32..63 of what is offered and of what the driver accepted. */
  readonly #offered: readonly [number, number];
  readonly #queues: readonly Virtqueue[];
  readonly #vectors: number;
  readonly #host: CommonConfigHost;
  readonly #queueVectors: Uint16Array;
  readonly #window = new RegisterBlock(STRUCTURE_BYTES);
  #accepted: [number, number] = [0, 0];
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #configVector = NO_VECTOR;
  #queueSelect = 0;
  #generation = 0;
  status = 0;

  /** `features` are the device's own bits; `vectors` is how many MSI-X vectors there are. */
  constructor(features: number, queues: readonly Virtqueue[], vectors: number, host: CommonConfigHost) {
    const rings = 2 ** VIRTIO_FEATURE.indirectDescriptors + 2 ** VIRTIO_FEATURE.eventIndex;
    this.#offered = [(features | rings) >>> 0, 2 ** (VIRTIO_FEATURE.version1 - 32)];
    this.#queues = queues;
    this.#vectors = vectors;
    this.#host = host;
    this.#queueVectors = new Uint16Array(queues.length).fill(NO_VECTOR);
  }

  accepted(bit: number): boolean {
    return ((this.#accepted[bit < 32 ? 0 : 1] >>> (bit & 31)) & 1) !== 0;
  }

  get indirectDescriptors(): boolean {
    return this.accepted(VIRTIO_FEATURE.indirectDescriptors);
  }

  get eventIndex(): boolean {
    return this.accepted(VIRTIO_FEATURE.eventIndex);
  }

  get configVector(): number {
    return this.#configVector;
  }

  queueVector(index: number): number {
    return this.#queueVectors[index] ?? NO_VECTOR;
  }

  /** Device configuration has changed: drivers see it by the generation (2.5.1). */
  configurationChanged(): void {
    this.#generation = (this.#generation + 1) & 0xff;
  }

  read(offset: number, size: AccessSize): number {
    this.#render();
    return this.#window.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset + size > STRUCTURE_BYTES) return;
    this.#render();
    this.#window.write(offset, size, value);
    const { view } = this.#window;
    const wrote = (field: number, length: number): boolean => touches(offset, size, field, length);
    if (wrote(FIELD.deviceFeatureSelect, 4))
      this.#deviceFeatureSelect = view.getUint32(FIELD.deviceFeatureSelect, true);
    if (wrote(FIELD.driverFeatureSelect, 4))
      this.#driverFeatureSelect = view.getUint32(FIELD.driverFeatureSelect, true);
    if (wrote(FIELD.driverFeature, 4)) this.#accept(view.getUint32(FIELD.driverFeature, true));
    if (wrote(FIELD.configVector, 2)) this.#configVector = this.#validVector(view.getUint16(FIELD.configVector, true));
    if (wrote(FIELD.queueSelect, 2)) this.#queueSelect = view.getUint16(FIELD.queueSelect, true);
    if (offset + size > FIELD.queueSize) this.#writeQueue(wrote);
    if (wrote(FIELD.status, 1)) this.#writeStatus(view.getUint8(FIELD.status));
  }

  reset(): void {
    this.status = 0;
    this.#accepted = [0, 0];
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#configVector = NO_VECTOR;
    this.#queueVectors.fill(NO_VECTOR);
    this.#queueSelect = 0;
    this.#generation = 0;
  }

  save(): { readonly [key: string]: StateValue } {
    return {
      status: this.status,
      accepted: [...this.#accepted],
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      configVector: this.#configVector,
      queueVectors: [...this.#queueVectors],
      queueSelect: this.#queueSelect,
      generation: this.#generation,
    };
  }

  load(saved: SavedState): void {
    const [low = 0, high = 0] = saved.numbers("accepted", 2);
    this.#accepted = [(low & this.#offered[0]) >>> 0, (high & this.#offered[1]) >>> 0];
    this.#deviceFeatureSelect = saved.integer("deviceFeatureSelect", 0, 0xffff_ffff);
    this.#driverFeatureSelect = saved.integer("driverFeatureSelect", 0, 0xffff_ffff);
    this.#configVector = this.#validVector(saved.integer("configVector", 0, NO_VECTOR));
    this.#queueVectors.set(saved.numbers("queueVectors", this.#queues.length).map((v) => this.#validVector(v)));
    this.#queueSelect = saved.integer("queueSelect", 0, 0xffff);
    this.#generation = saved.integer("generation", 0, 0xff);
    this.status = saved.integer("status", 0, 0xff);
  }

  get #queue(): Virtqueue | undefined {
    return this.#queues[this.#queueSelect];
  }

  /** Lays the registers out as the driver sees them. A queue that does not exist has size 0 and reads as zero. */
  #render(): void {
    const { view } = this.#window;
    const queue = this.#queue;
    view.setUint32(FIELD.deviceFeatureSelect, this.#deviceFeatureSelect, true);
    view.setUint32(FIELD.deviceFeature, this.#offered[this.#deviceFeatureSelect] ?? 0, true);
    view.setUint32(FIELD.driverFeatureSelect, this.#driverFeatureSelect, true);
    view.setUint32(FIELD.driverFeature, this.#accepted[this.#driverFeatureSelect] ?? 0, true);
    view.setUint16(FIELD.configVector, this.#configVector, true);
    view.setUint16(FIELD.numQueues, this.#queues.length, true);
    view.setUint8(FIELD.status, this.status);
    view.setUint8(FIELD.generation, this.#generation);
    view.setUint16(FIELD.queueSelect, this.#queueSelect, true);
    view.setUint16(FIELD.queueSize, queue?.size ?? 0, true);
    view.setUint16(FIELD.queueVector, queue === undefined ? 0 : this.queueVector(queue.index), true);
    view.setUint16(FIELD.queueEnable, queue?.enabled === true ? 1 : 0, true);
    view.setUint16(FIELD.queueNotifyOff, queue?.index ?? 0, true);
    setAddress(view, FIELD.queueDescriptors, queue?.areas.descriptors ?? 0);
    setAddress(view, FIELD.queueDriver, queue?.areas.available ?? 0);
    setAddress(view, FIELD.queueDevice, queue?.areas.used ?? 0);
  }

  /** Features are fixed once FEATURES_OK is set; a vector that does not exist reads back as none (4.1.5.1.2). */
  #accept(bits: number): void {
    if ((this.status & VIRTIO_STATUS.featuresOk) !== 0) return;
    if (this.#driverFeatureSelect === 0) this.#accepted[0] = bits;
    else if (this.#driverFeatureSelect === 1) this.#accepted[1] = bits;
  }

  #validVector(vector: number): number {
    return vector < this.#vectors ? vector : NO_VECTOR;
  }

  /** Size and addresses stand once the queue is enabled; only a reset disables it again. */
  #writeQueue(wrote: (field: number, length: number) => boolean): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    const { view } = this.#window;
    if (wrote(FIELD.queueVector, 2)) {
      this.#queueVectors[queue.index] = this.#validVector(view.getUint16(FIELD.queueVector, true));
    }
    if (queue.enabled) return;
    if (wrote(FIELD.queueSize, 2)) queue.size = view.getUint16(FIELD.queueSize, true);
    if (wrote(FIELD.queueDescriptors, 8)) queue.areas.descriptors = getAddress(view, FIELD.queueDescriptors);
    if (wrote(FIELD.queueDriver, 8)) queue.areas.available = getAddress(view, FIELD.queueDriver);
    if (wrote(FIELD.queueDevice, 8)) queue.areas.used = getAddress(view, FIELD.queueDevice);
    if (wrote(FIELD.queueEnable, 2) && view.getUint16(FIELD.queueEnable, true) === 1 && !queue.enable()) {
      this.#host.fail(`queue ${queue.index} is enabled with ${queue.size} entries or misaligned areas`);
    }
  }

  /** Writing 0 resets; else bits are only ever added, and FEATURES_OK only for a set that we can work with (3.1.1). */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      this.#host.reset();
      return;
    }
    const wasRunning = (this.status & VIRTIO_STATUS.driverOk) !== 0;
    let added = value & ~VIRTIO_STATUS.needsReset;
    if (!this.#featuresFit()) added &= ~VIRTIO_STATUS.featuresOk;
    if (((this.status | added) & VIRTIO_STATUS.featuresOk) === 0) added &= ~VIRTIO_STATUS.driverOk;
    this.status |= added;
    if (!wasRunning && (this.status & VIRTIO_STATUS.driverOk) !== 0) this.#host.started();
  }

  #featuresFit(): boolean {
    const [low, high] = this.#accepted;
    return (low & ~this.#offered[0]) === 0 && high === this.#offered[1];
  }
}

/** Areas are numbers; past 2^53 they lose low bits, which no queue with such an address is enabled to miss. */
function setAddress(view: DataView, offset: number, address: number): void {
  view.setUint32(offset, address % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(address / 2 ** 32), true);
}

function getAddress(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}
