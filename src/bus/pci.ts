/**
 * PCI bus 0: which function sits in which slot, configuration accesses by bus, device and function, base address
 * registers kept in step with the port and memory buses, and INTx lines (PCI Local Bus 3.0, chapters 2, 3 and 6).
 * How the processor reaches configuration space is the host bridge's duty (`devices/pci-host.ts`).
 * Left out: bridges to further buses, hot plug.
 */
import type { IrqPin } from "../devices/device.js";
import { invariant } from "../errors.js";
import { type AccessSize, floating, type MmioHandler, type PortHandler } from "./access.js";
import type { MmioBus } from "./mmio.js";
import { CONFIG_BYTES } from "./pci-config-space.js";
import type { PciBar, PciFunction } from "./pci-function.js";
import type { BusWindow, PortBus } from "./ports.js";

const DEVICES = 32;
const FUNCTIONS = 8;
/** INTx lines reach global system interrupts 16..23, as the DSDT's _PRT says. */
const FIRST_INTX_GSI = 16;
const INTX_GSIS = 8;

/** The global system interrupt of a device's pin (1..4 for INTA#..INTD#). */
export function intxGsi(device: number, pin: number): number {
  return FIRST_INTX_GSI + ((device + pin - 1) % INTX_GSIS);
}

/** A function and where it sits. */
export interface PciPlace {
  readonly device: number;
  readonly functionNumber: number;
  readonly pci: PciFunction;
}

export class PciBus {
  readonly #ports: PortBus;
  readonly #memory: MmioBus;
  readonly #irq: (gsi: number) => IrqPin;
  /** Indexed by device * 8 + function. */
  readonly #places: (PciPlace | undefined)[] = new Array<PciPlace | undefined>(DEVICES * FUNCTIONS).fill(undefined);

  constructor(ports: PortBus, memory: MmioBus, irq: (gsi: number) => IrqPin) {
    this.#ports = ports;
    this.#memory = memory;
    this.#irq = irq;
  }

  /** Puts the functions of one device, function 0 first, into slot `device` (0..31). */
  attach(device: number, ...functions: readonly PciFunction[]): void {
    invariant(device >= 0 && device < DEVICES && functions.length <= FUNCTIONS, `PCI slot ${device} exists`);
    functions.forEach((pci, functionNumber) => {
      const index = device * FUNCTIONS + functionNumber;
      invariant(this.#places[index] === undefined, `PCI slot ${device} is free for ${pci.name}`);
      this.#places[index] = { device, functionNumber, pci };
      const regions = pci.bars.map((bar) => new Region(pci, bar, this.#ports, this.#memory));
      pci.attach({
        pin: pci.interruptPin === 0 ? undefined : this.#irq(intxGsi(device, pci.interruptPin)),
        multifunction: functions.length > 1,
        mappingChanged: () => {
          for (const region of regions) region.follow();
        },
      });
    });
  }

  /** The functions present, by device and function. */
  places(): readonly PciPlace[] {
    return this.#places.filter((place) => place !== undefined);
  }

  /**
   * Reads configuration space of bus/device/function number `routingId` (bus in bits 8..15, device in 3..7,
   * function in 0..2). Where nothing sits, and past the 256 bytes of a conventional function, all ones.
   * An access that crosses a doubleword is answered byte by byte.
   */
  readConfig(routingId: number, offset: number, size: AccessSize): number {
    const pci = this.#places[routingId]?.pci;
    if (pci === undefined || offset + size > CONFIG_BYTES) return floating(size);
    if ((offset & 3) + size <= 4) return pci.readConfig(offset, size);
    let value = 0;
    for (let i = 0; i < size; i++) value |= pci.readConfig(offset + i, 1) << (8 * i);
    return value >>> 0;
  }

  /** Writes configuration space; as `readConfig`, what reaches nothing vanishes. */
  writeConfig(routingId: number, offset: number, size: AccessSize, value: number): void {
    const pci = this.#places[routingId]?.pci;
    if (pci === undefined || offset + size > CONFIG_BYTES) return;
    if ((offset & 3) + size <= 4) {
      pci.writeConfig(offset, size, value);
      return;
    }
    for (let i = 0; i < size; i++) pci.writeConfig(offset + i, 1, (value >>> (8 * i)) & 0xff);
  }
}

/** One base address register's range on the bus it decodes. */
class Region implements PortHandler {
  readonly name: string;
  readonly #pci: PciFunction;
  readonly #bar: PciBar;
  readonly #place: (address: number) => BusWindow;
  readonly #handler: MmioHandler;
  #window: BusWindow | undefined;
  #address: number | undefined;

  constructor(pci: PciFunction, bar: PciBar, ports: PortBus, memory: MmioBus) {
    this.name = pci.name;
    this.#pci = pci;
    this.#bar = bar;
    this.#handler = bar.handler;
    this.#place =
      bar.kind === "io"
        ? (address) => ports.map(address, bar.sizeBytes, this)
        : (address) => memory.map(address, bar.sizeBytes, bar.handler);
  }

  /** Puts the range where the function decodes it now. */
  follow(): void {
    const address = this.#pci.decodedAddress(this.#bar);
    if (address === this.#address) return;
    this.#address = address;
    if (address === undefined) this.#window?.unmap();
    else if (this.#window === undefined) this.#window = this.#place(address);
    else this.#window.move(address);
  }

  readPort(port: number, size: AccessSize): number {
    return this.#handler.readMmio(port - (this.#address ?? port), size);
  }

  writePort(port: number, size: AccessSize, value: number): void {
    this.#handler.writeMmio(port - (this.#address ?? port), size, value);
  }
}
