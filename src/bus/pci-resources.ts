/**
 * What a BIOS does to PCI before an operating system starts: base addresses, interrupt lines, and decoding switched
 * on (PCI Firmware 3.0, chapter 3). There is no BIOS here, so the machine calls this after each platform reset.
 * 64-bit regions are placed below 4 GiB as well, where guests of every width reach them.
 */
import { VmError } from "../errors.js";
import { intxGsi, type PciBus } from "./pci.js";
import { PCI_COMMAND, PCI_HEADER, type PciBar, type PciFunction } from "./pci-function.js";

/** A range of bus addresses, both ends included. */
export interface PciWindow {
  readonly first: number;
  readonly last: number;
}

/** Where memory regions are placed; the ACPI tables declare the same window. */
export const PCI_MEMORY_WINDOW: PciWindow = { first: 0xc000_0000, last: 0xfebf_ffff };
/** Where I/O regions are placed. */
export const PCI_IO_WINDOW: PciWindow = { first: 0x1000, last: 0xffff };

/** Gives every function addresses and an interrupt line. Throws VmError VM_CONFIG_INVALID when a window is too small. */
export function assignResources(bus: PciBus): void {
  const places = bus.places();
  const regions = places.flatMap(({ pci }) => pci.bars.map((bar) => ({ pci, bar })));
  placeRegions(
    regions.filter(({ bar }) => bar.kind !== "io"),
    PCI_MEMORY_WINDOW,
  );
  placeRegions(
    regions.filter(({ bar }) => bar.kind === "io"),
    PCI_IO_WINDOW,
  );
  for (const { device, pci } of places) {
    if (pci.interruptPin !== 0) pci.writeConfig(PCI_HEADER.interruptLine, 1, intxGsi(device, pci.interruptPin));
    const enables = pci.bars.reduce((bits, bar) => bits | (bar.kind === "io" ? PCI_COMMAND.io : PCI_COMMAND.memory), 0);
    pci.writeConfig(PCI_HEADER.command, 2, pci.command | enables);
  }
}

/** Largest first, each on its own alignment: no gaps but before the first. */
function placeRegions(regions: { readonly pci: PciFunction; readonly bar: PciBar }[], window: PciWindow): void {
  let next = window.first;
  for (const { pci, bar } of regions.sort((a, b) => b.bar.sizeBytes - a.bar.sizeBytes)) {
    const address = Math.ceil(next / bar.sizeBytes) * bar.sizeBytes;
    next = address + bar.sizeBytes;
    if (next - 1 > window.last) {
      throw new VmError("VM_CONFIG_INVALID", `no PCI address space is left for ${pci.name}`, {
        hint: "configure fewer devices",
      });
    }
    const offset = PCI_HEADER.bar0 + 4 * bar.index;
    pci.writeConfig(offset, 4, address);
    if (bar.kind === "memory64") pci.writeConfig(offset + 4, 4, 0);
  }
}
