/**
 * Where RAM lies in guest-physical space and what firmware tells the guest of it: the machine's one address plan
 * for memory, and the e820 view of it (ACPI 6.5, section 15). Windows of devices belong to their devices.
 */
import { IOAPIC_BASE } from "../devices/ioapic.js";
import { ECAM_BASE, ECAM_BYTES } from "../devices/pci-host.js";
import { invariant } from "../errors.js";

/** First address of the legacy video hole (640 KiB). */
export const VIDEO_HOLE_START = 0xa_0000;
/** First address behind the video hole: shadow ROM, RAM that holds the firmware's tables. */
export const SHADOW_START = 0xc_0000;
/** Firmware tables start here; RSDP is searched for from this address on (ACPI 6.5, 5.2.5.1). */
export const FIRMWARE_TABLES_START = 0xe_0000;
export const FIRMWARE_TABLES_END = 0x10_0000;
/** RAM never lies from here up to 4 GiB: ECAM, PCI windows, APICs. */
export const LOW_RAM_LIMIT = ECAM_BASE;
export const LAPIC_ADDRESS = 0xfee0_0000;
const APIC_WINDOW_BYTES = 0x1000;
const FOUR_GIB = 0x1_0000_0000;
/** The extended BIOS data area: the last KiB below the video hole is never told to be usable. */
const EBDA_START = 0x9_fc00;

/** A run of guest-physical addresses backed by RAM from `ramOffset` on; all in bytes, multiples of 4096. */
export interface RamSpan {
  readonly address: number;
  readonly length: number;
  readonly ramOffset: number;
}

/** One line of the map given to the guest; `address` and `length` in bytes. */
export interface MemoryMapEntry {
  readonly address: number;
  readonly length: number;
  readonly kind: "usable" | "reserved";
}

/** Address range types of ACPI 6.5, table 15.4; the numbers are the same in e820 and in PVH. */
export const E820_TYPE = { usable: 1, reserved: 2 } as const;

/** All RAM of a machine of `memoryBytes` (at least 1 MiB, a multiple of 4096), in ascending order. */
export function ramSpans(memoryBytes: number): RamSpan[] {
  invariant(memoryBytes >= 0x10_0000 && memoryBytes % 4096 === 0, "RAM is whole pages and at least 1 MiB");
  const spans: RamSpan[] = [
    { address: 0, length: VIDEO_HOLE_START, ramOffset: 0 },
    { address: SHADOW_START, length: lowRamEnd(memoryBytes) - SHADOW_START, ramOffset: SHADOW_START },
  ];
  if (memoryBytes > LOW_RAM_LIMIT) {
    spans.push({ address: FOUR_GIB, length: memoryBytes - LOW_RAM_LIMIT, ramOffset: LOW_RAM_LIMIT });
  }
  return spans;
}

/** First address behind the RAM that starts at 1 MiB. */
export function lowRamEnd(memoryBytes: number): number {
  return Math.min(memoryBytes, LOW_RAM_LIMIT);
}

/** The map the guest is given: ascending, without overlaps. */
export function memoryMap(memoryBytes: number): MemoryMapEntry[] {
  const entries: MemoryMapEntry[] = [
    { address: 0, length: EBDA_START, kind: "usable" },
    { address: EBDA_START, length: VIDEO_HOLE_START - EBDA_START, kind: "reserved" },
    { address: VIDEO_HOLE_START, length: FIRMWARE_TABLES_END - VIDEO_HOLE_START, kind: "reserved" },
    { address: FIRMWARE_TABLES_END, length: lowRamEnd(memoryBytes) - FIRMWARE_TABLES_END, kind: "usable" },
    { address: ECAM_BASE, length: ECAM_BYTES, kind: "reserved" },
    { address: IOAPIC_BASE, length: APIC_WINDOW_BYTES, kind: "reserved" },
    { address: LAPIC_ADDRESS, length: APIC_WINDOW_BYTES, kind: "reserved" },
    { address: FOUR_GIB, length: Math.max(0, memoryBytes - LOW_RAM_LIMIT), kind: "usable" },
  ];
  return entries.filter((entry) => entry.length > 0);
}
