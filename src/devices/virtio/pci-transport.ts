/**
 * Virtio over PCI, modern interface only (virtio 1.3, 4.1): the common, notification, ISR and device structures in
 * one region, MSI-X in another, negotiation (2.2, 3.1), and interrupts by message or by pin.
 * Offered besides the device's own features: VERSION_1, RING_INDIRECT_DESC, RING_EVENT_IDX.
 * Left out: the legacy interface, RING_RESET, NOTIFICATION_DATA, NOTIF_CONFIG_DATA, admin queues.
 */
import { type AccessSize, floating, type MmioHandler } from "../../bus/access.js";
import type { PciBus } from "../../bus/pci.js";
import { PciFunction } from "../../bus/pci-function.js";
import { Msix } from "../../bus/pci-msix.js";
import { RegisterBlock } from "../../bus/pci-registers.js";
import type { Device, DeviceContext, DeviceState, GuestMemory, GuestTimer } from "../device.js";
import { SavedState } from "../saved-state.js";
import { CommonConfig, NO_VECTOR, VIRTIO_STATUS } from "./common-config.js";
import type { VirtioModel, VirtioTransport } from "./model.js";
import { type QueueHost, Virtqueue } from "./queue.js";

const VENDOR_VIRTIO = 0x1af4;
const DEVICE_BASE = 0x1040;
/** The structures lie a page apart in region 0; the notification page gives each queue its own doubleword. */
const STRUCTURES_BAR = 0;
const STRUCTURES_BYTES = 0x4000;
const STRUCTURE = { common: 0x0000, isr: 0x1000, device: 0x2000, notify: 0x3000 } as const;
const NOTIFY_MULTIPLIER = 4;
const MSIX_BAR = 2;

/** Virtio structure capabilities (4.1.4). */
const CAPABILITY_VENDOR = 0x09;
const STRUCTURE_TYPE = { common: 1, notify: 2, isr: 3, device: 4, pciAccess: 5 } as const;

const ISR_QUEUE = 0x1;
const ISR_CONFIG = 0x2;

export class VirtioPci implements Device, MmioHandler, VirtioTransport, QueueHost {
  readonly name: string;
  readonly pci: PciFunction;
  readonly memory: GuestMemory;
  readonly #context: DeviceContext;
  readonly #model: VirtioModel;
  readonly #queues: readonly Virtqueue[];
  readonly #common: CommonConfig;
  readonly #msix: Msix;
  readonly #resume: GuestTimer;
  /** Offset in configuration space of the body of the capability through which structures can be reached. */
  #pciAccess = 0;
  #isr = 0;

  /** Puts `model` on `bus` in slot `device` (1..31). */
  constructor(context: DeviceContext, bus: PciBus, device: number, model: VirtioModel) {
    this.name = model.name;
    this.#context = context;
    this.#model = model;
    this.memory = {
      read: (address, target) => this.pci.busMaster && context.memory.read(address, target),
      write: (address, source) => this.pci.busMaster && context.memory.write(address, source),
    };
    this.#queues = model.queueSizes.map((size, index) => new Virtqueue(index, size, this));
    this.#msix = new Msix(this.name, this.#queues.length + 1, context.msi);
    this.#common = new CommonConfig(model.features, this.#queues, this.#msix.vectors, {
      fail: (reason) => this.fail(reason),
      reset: () => this.#resetDevice(),
      started: () => this.#processAll(),
    });
    this.pci = new PciFunction(
      this.name,
      {
        vendorId: VENDOR_VIRTIO,
        deviceId: DEVICE_BASE + model.deviceId,
        revision: 1,
        classCode: model.classCode,
        subsystemVendorId: VENDOR_VIRTIO,
        subsystemId: DEVICE_BASE + model.deviceId,
        interruptPin: 1,
      },
      [
        { index: STRUCTURES_BAR, kind: "memory64", sizeBytes: STRUCTURES_BYTES, handler: this },
        this.#msix.bar(MSIX_BAR),
      ],
    );
    this.#installCapabilities();
    this.pci.onCommand(() => this.#processAll());
    this.#resume = context.clock.timer(`${this.name}-resume`, () => this.#processAll());
    bus.attach(device, this.pci);
    model.connect(this);
  }

  // What the model and its queues ask for.

  get live(): boolean {
    const { status } = this.#common;
    return (status & VIRTIO_STATUS.driverOk) !== 0 && (status & VIRTIO_STATUS.needsReset) === 0;
  }

  get indirectDescriptors(): boolean {
    return this.#common.indirectDescriptors;
  }

  get eventIndex(): boolean {
    return this.#common.eventIndex;
  }

  queue(index: number): Virtqueue {
    const queue = this.#queues[index];
    if (queue === undefined) throw new RangeError(`${this.name} has no queue ${index}`);
    return queue;
  }

  accepted(bit: number): boolean {
    return this.#common.accepted(bit);
  }

  interrupt(index: number): void {
    this.#signal(this.#common.queueVector(index), ISR_QUEUE);
  }

  fail(reason: string): void {
    if ((this.#common.status & VIRTIO_STATUS.needsReset) !== 0) return;
    this.#context.warn(this.name, reason);
    const wasLive = this.live;
    this.#common.status |= VIRTIO_STATUS.needsReset;
    if (wasLive) this.#configurationChanged();
  }

  /** Without bus mastering nothing is looked at; enabling it looks at everything. */
  kick(index: number): void {
    const queue = this.#queues[index];
    if (queue === undefined || !queue.enabled || !this.live || !this.pci.busMaster) return;
    queue.beginBatch();
    this.#model.processQueue(index);
    if (queue.cutShort) this.#resumeSoon();
  }

  // The structures in region 0.

  readMmio(offset: number, size: AccessSize): number {
    if (offset >= STRUCTURE.notify) return 0;
    if (offset >= STRUCTURE.device) return this.#model.readConfig(offset - STRUCTURE.device, size);
    if (offset >= STRUCTURE.isr) return offset === STRUCTURE.isr ? this.#takeIsr() : 0;
    return this.#common.read(offset, size);
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    if (offset >= STRUCTURE.notify) this.kick((offset - STRUCTURE.notify) / NOTIFY_MULTIPLIER);
    else if (offset >= STRUCTURE.device) this.#model.writeConfig(offset - STRUCTURE.device, size, value);
    else if (offset < STRUCTURE.isr) this.#common.write(offset, size, value);
  }

  reset(): void {
    this.#common.reset();
    this.#resetDevice();
    this.#msix.reset();
    this.pci.reset();
  }

  save(): DeviceState {
    return {
      version: 1,
      isr: this.#isr,
      common: this.#common.save(),
      queues: this.#queues.map((queue) => queue.save()),
      pci: this.pci.save(),
      msix: this.#msix.save(),
      model: this.#model.save(),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, 1);
    this.#common.reset();
    this.#resetDevice();
    this.pci.load(saved.part("pci"));
    this.#msix.load(saved.part("msix"));
    const parts = saved.parts("queues", this.#queues.length);
    this.#queues.forEach((queue, index) => {
      const part = parts[index];
      if (part !== undefined) queue.load(part);
    });
    this.#model.load(saved.part("model"));
    this.#isr = saved.integer("isr", 0, ISR_QUEUE | ISR_CONFIG);
    this.#common.load(saved.part("common"));
    if (this.live) this.#resumeSoon();
  }

  /** A reset by the driver (2.4): MSI-X and the PCI registers keep what they have. */
  #resetDevice(): void {
    this.#isr = 0;
    this.#resume.cancel();
    for (const queue of this.#queues) queue.reset();
    this.pci.setInterrupt(false);
    this.#model.reset();
  }

  #processAll(): void {
    for (const queue of this.#queues) this.kick(queue.index);
  }

  /** Goes on at the next instruction boundary. */
  #resumeSoon(): void {
    this.#resume.arm(this.#context.clock.nowNs());
  }

  #configurationChanged(): void {
    this.#common.configurationChanged();
    this.#isr |= ISR_CONFIG;
    this.#signal(this.#common.configVector, ISR_CONFIG);
  }

  #signal(vector: number, cause: number): void {
    if (this.#msix.enabled) {
      if (vector !== NO_VECTOR) this.#msix.trigger(vector);
      return;
    }
    this.#isr |= cause;
    this.pci.setInterrupt(true);
  }

  /** Reading the ISR status clears it and takes the interrupt back (4.1.4.5). */
  #takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.pci.setInterrupt(false);
    return isr;
  }

  #installCapabilities(): void {
    const multiplier = new Uint8Array([NOTIFY_MULTIPLIER, 0, 0, 0]);
    this.#msix.install(this.pci, MSIX_BAR);
    this.#addStructure(STRUCTURE_TYPE.common, STRUCTURE.common, CommonConfig.bytes);
    this.#addStructure(STRUCTURE_TYPE.isr, STRUCTURE.isr, 1);
    this.#addStructure(STRUCTURE_TYPE.device, STRUCTURE.device, 0x1000);
    this.#addStructure(STRUCTURE_TYPE.notify, STRUCTURE.notify, NOTIFY_MULTIPLIER * this.#queues.length, multiplier);
    this.#addPciAccess();
  }

  /** struct virtio_pci_cap behind id and link: cap_len, cfg_type, bar, id, padding, offset, length (4.1.4). */
  #addStructure(type: number, offset: number, length: number, extra = new Uint8Array(0)): void {
    this.pci.addCapability({ id: CAPABILITY_VENDOR, body: structureBody(type, offset, length, extra) });
  }

  /** The window for those who cannot map regions: bar, offset and length are written, then data moves (4.1.4.9). */
  #addPciAccess(): void {
    const body = structureBody(STRUCTURE_TYPE.pciAccess, 0, 0, new Uint8Array(4));
    const writable = new Uint8Array(body.length);
    writable[ACCESS.bar] = 0xff;
    writable.fill(0xff, ACCESS.offset);
    const ofData = (offset: number, size: number): boolean => offset + size > ACCESS.data;
    this.#pciAccess = this.pci.addCapability({
      id: CAPABILITY_VENDOR,
      body,
      writable,
      beforeRead: (offset, size) => {
        if (ofData(offset, size)) this.#accessStructure(false);
      },
      afterWrite: (offset, size) => {
        if (ofData(offset, size)) this.#accessStructure(true);
      },
    });
  }

  #accessStructure(isWrite: boolean): void {
    const { view } = this.pci;
    const bar = this.pci.bars.find(({ index }) => index === view.getUint8(this.#pciAccess + ACCESS.bar));
    const offset = view.getUint32(this.#pciAccess + ACCESS.offset, true);
    const length = view.getUint32(this.#pciAccess + ACCESS.length, true);
    if (bar === undefined || (length !== 1 && length !== 2 && length !== 4)) return;
    if (offset % length !== 0 || offset + length > bar.sizeBytes) return;
    const data = new RegisterBlock(4);
    if (isWrite) {
      data.view.setUint32(0, view.getUint32(this.#pciAccess + ACCESS.data, true), true);
      bar.handler.writeMmio(offset, length, data.read(0, length));
    } else {
      data.write(0, length, bar.handler.readMmio(offset, length) & floating(length));
      view.setUint32(this.#pciAccess + ACCESS.data, data.view.getUint32(0, true), true);
    }
  }
}

/** Offsets in a structure capability's body. */
const ACCESS = { bar: 2, offset: 6, length: 10, data: 14 } as const;

function structureBody(type: number, offset: number, length: number, extra: Uint8Array): Uint8Array {
  const body = new RegisterBlock(14 + extra.length);
  body.bytes[0] = 2 + body.bytes.length;
  body.bytes[1] = type;
  body.bytes[ACCESS.bar] = STRUCTURES_BAR;
  body.view.setUint32(ACCESS.offset, offset, true);
  body.view.setUint32(ACCESS.length, length, true);
  body.bytes.set(extra, ACCESS.data);
  return body.bytes;
}
