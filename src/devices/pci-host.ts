/**
 * The host bridge: function 0:0.0 with the identity of the Q35 memory controller hub (8086:29c0), and the processor's
 * two ways to configuration space: mechanism 1 at ports 0xCF8 and 0xCFC (PCI Local Bus 3.0, 3.2.2.3.2) and the
 * enhanced mechanism in memory (PCI Express Base 4.0, 7.2.2).
 * Left out: moving or closing the ECAM window (PCIEXBAR is read-only), PAM and SMRAM, buses other than 0.
 */
import { type AccessSize, floating, type MmioHandler, type PortHandler } from "../bus/access.js";
import type { PciBus } from "../bus/pci.js";
import { PciFunction } from "../bus/pci-function.js";
import type { Device, DeviceState } from "./device.js";
import { SavedState } from "./saved-state.js";

/** First port of configuration mechanism 1. */
export const PCI_CONFIG_PORT = 0xcf8;
/** CONFIG_ADDRESS, 4 bytes, and CONFIG_DATA, 4 bytes. */
export const PCI_CONFIG_PORTS = 8;
/** Where the ECAM window lies: 256 buses of 1 MiB. */
export const ECAM_BASE = 0xb000_0000;
export const ECAM_BUSES = 256;
export const ECAM_BYTES = ECAM_BUSES * 0x10_0000;

const CONFIG_DATA = 0xcfc;
const RESET_CONTROL = 0xcf9;
const ADDRESS_ENABLE = 0x8000_0000;
/** Bits 24..30 and 0..1 of CONFIG_ADDRESS are reserved and read as zero. */
const ADDRESS_BITS = 0x80ff_fffc;
/** PCIEXBAR of the hub's datasheet: base, length 256 MiB (0), enable. */
const PCIEXBAR = 0x60;
const PCIEXBAR_ENABLE = 1;

/**
 * Claims ports 0xCF8..0xCFF (`PCI_CONFIG_PORT`, `PCI_CONFIG_PORTS`) and memory at `ECAM_BASE`. A byte access to 0xCF9
 * belongs to the reset control register, which on a PC lies under CONFIG_ADDRESS: it is handed on to `resetControl`.
 */
export class PciHost implements Device, PortHandler, MmioHandler {
  readonly name = "pci-host";
  readonly pci = new PciFunction(this.name, {
    vendorId: 0x8086,
    deviceId: 0x29c0,
    revision: 0,
    classCode: 0x06_00_00,
  });
  readonly #bus: PciBus;
  readonly #resetControl: PortHandler | undefined;
  #address = 0;

  /** Takes slot 0 of `bus`. */
  constructor(bus: PciBus, resetControl?: PortHandler) {
    this.#bus = bus;
    this.#resetControl = resetControl;
    this.pci.defineRegister(PCIEXBAR, 4, ECAM_BASE + PCIEXBAR_ENABLE);
    bus.attach(0, this.pci);
  }

  reset(): void {
    this.#address = 0;
    this.pci.reset();
  }

  readPort(port: number, size: AccessSize): number {
    if (port >= CONFIG_DATA) {
      return this.#enabled ? this.#bus.readConfig(this.#routingId, this.#register(port), size) : floating(size);
    }
    if (port === PCI_CONFIG_PORT && size === 4) return this.#address;
    if (port === RESET_CONTROL && size === 1) return this.#resetControl?.readPort(port, size) ?? floating(size);
    return floating(size);
  }

  writePort(port: number, size: AccessSize, value: number): void {
    if (port >= CONFIG_DATA) {
      if (this.#enabled) this.#bus.writeConfig(this.#routingId, this.#register(port), size, value);
    } else if (port === PCI_CONFIG_PORT && size === 4) this.#address = (value & ADDRESS_BITS) >>> 0;
    else if (port === RESET_CONTROL && size === 1) this.#resetControl?.writePort(port, size, value);
  }

  /** ECAM: bus in bits 20..27, device 15..19, function 12..14, register 0..11. */
  readMmio(offset: number, size: AccessSize): number {
    return this.#bus.readConfig(offset >>> 12, offset & 0xfff, size);
  }

  writeMmio(offset: number, size: AccessSize, value: number): void {
    this.#bus.writeConfig(offset >>> 12, offset & 0xfff, size, value);
  }

  save(): DeviceState {
    return { version: 1, address: this.#address, pci: this.pci.save() };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, 1);
    this.#address = (saved.integer("address", 0, 0xffff_ffff) & ADDRESS_BITS) >>> 0;
    this.pci.load(saved.part("pci"));
  }

  get #enabled(): boolean {
    return this.#address >= ADDRESS_ENABLE;
  }

  get #routingId(): number {
    return (this.#address >>> 8) & 0xffff;
  }

  #register(port: number): number {
    return (this.#address & 0xfc) + (port - CONFIG_DATA);
  }
}
