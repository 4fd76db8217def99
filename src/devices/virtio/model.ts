/**
 * The seam between a virtio device and its transport (virtio 1.3, chapter 2): the device knows requests and its own
 * configuration; the transport knows PCI, negotiation and interrupts.
 */
import type { AccessSize } from "../../bus/access.js";
import type { StateValue } from "../device.js";
import type { SavedState } from "../saved-state.js";
import type { Virtqueue } from "./queue.js";

/** Device ids (virtio 1.3, section 5). */
export const VIRTIO_ID = { block: 2, console: 3, entropy: 4 } as const;

/** Feature bits that belong to the transport and the rings, not to a device type (section 6). */
export const VIRTIO_FEATURE = { indirectDescriptors: 28, eventIndex: 29, version1: 32 } as const;

/** What a device may ask of its transport. */
export interface VirtioTransport {
  /** Whether the driver has said DRIVER_OK and the device is neither reset nor broken. */
  readonly live: boolean;
  queue(index: number): Virtqueue;
  /** Whether the driver accepted device feature `bit` (0..23). */
  accepted(bit: number): boolean;
  /** The guest did what no driver may do: DEVICE_NEEDS_RESET, and no further buffer is taken (2.1.2). */
  fail(reason: string): void;
  /** Has `processQueue(index)` called now, as if the driver had notified; nothing unless live. */
  kick(index: number): void;
}

/** One virtio device behind its transport. */
export interface VirtioModel {
  /** The device's name, unique in its machine. */
  readonly name: string;
  readonly deviceId: number;
  /** PCI class code as 0xBBSSPP. */
  readonly classCode: number;
  /** Device feature bits 0..23 that are offered. */
  readonly features: number;
  /** Largest size of each queue, a power of two each. */
  readonly queueSizes: readonly number[];
  /** Called once, before the guest runs. */
  connect(transport: VirtioTransport): void;
  /** Reads device configuration; bytes past its end read as zero. */
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** The driver has made buffers available in queue `index`. Only while live; bounded work. */
  processQueue(index: number): void;
  /** The driver (or the platform) reset the device: requests in flight never complete. */
  reset(): void;
  /** The transport embeds the result in its own state, and its version covers both. */
  save(): { readonly [key: string]: StateValue };
  load(saved: SavedState): void;
}
