/**
 * The ACPI tables of the machine: RSDP, XSDT, FADT, FACS, MADT, MCFG and the DSDT of `dsdt.ts` (ACPI 6.5, section
 * 5.2; MCFG: PCI Firmware 3.3, 4.1.2). The machine has ACPI hardware and is always in ACPI mode (no SMI command).
 * Left out: RSDT (only for 32-bit ACPI 1.0 systems), HPET, SRAT and all else a system does without.
 */
import { SCI_IRQ } from "../devices/acpi-pm.js";
import { IOAPIC_BASE } from "../devices/ioapic.js";
import { ECAM_BASE, ECAM_BUSES } from "../devices/pci-host.js";
import { invariant } from "../errors.js";
import { concat, u16, u32, u64 } from "./aml.js";
import type { MemoryWriter } from "./boot-state.js";
import { dsdtBody, PM_BYTES, PM_PORTS } from "./dsdt.js";
import { FIRMWARE_TABLES_END, FIRMWARE_TABLES_START, LAPIC_ADDRESS } from "./memory-map.js";

const OEM_ID = "VMDECK";
const OEM_TABLE_ID = "VMDECKPC";
const CREATOR_ID = "DECK";
const HEADER_BYTES = 36;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;
const CMOS_CENTURY = 0x32;

/** A table and the guest-physical address it belongs to. */
export interface PlacedTable {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Writes all tables and returns the RSDP's guest-physical address. */
export function writeAcpiTables(memory: MemoryWriter, cpus: number): number {
  for (const table of acpiTables(cpus)) memory.write(table.address, table.bytes);
  return FIRMWARE_TABLES_START;
}

/** All tables for a machine of `cpus` processors (1 to 255), laid out from `FIRMWARE_TABLES_START`; the RSDP is the first. */
export function acpiTables(cpus: number): PlacedTable[] {
  invariant(Number.isInteger(cpus) && cpus >= 1 && cpus <= 255, "xAPIC identifiers go from 0 to 254");
  const tables: PlacedTable[] = [];
  let next = FIRMWARE_TABLES_START;
  // FACS wants 64 bytes of alignment, RSDP 16; all get the larger.
  const reserve = (length: number): number => {
    const address = next;
    next = Math.ceil((address + length) / 64) * 64;
    invariant(next <= FIRMWARE_TABLES_END, "firmware tables fit below 1 MiB");
    return address;
  };
  const place = (bytes: Uint8Array): number => {
    const address = reserve(bytes.length);
    tables.push({ address, bytes });
    return address;
  };
  const RSDP_BYTES = 36;
  const rsdpAddress = reserve(RSDP_BYTES);
  const facs = place(firmwareControl());
  const dsdt = place(table("DSDT", 2, dsdtBody()));
  const listed = [
    place(table("FACP", 6, fixedDescription(facs, dsdt))),
    place(table("APIC", 5, interruptControllers(cpus))),
    place(table("MCFG", 1, configurationSpace())),
  ];
  const xsdt = place(table("XSDT", 1, concat(...listed.map(u64))));
  tables.unshift({ address: rsdpAddress, bytes: rootPointer(xsdt) });
  return tables;
}

/** 5.2.5.3: revision 2, without an RSDT. */
function rootPointer(xsdtAddress: number): Uint8Array {
  const bytes = concat(
    ascii("RSD PTR "),
    Uint8Array.of(0),
    ascii(OEM_ID),
    Uint8Array.of(2),
    u32(0),
    u32(36),
    u64(xsdtAddress),
    u32(0),
  );
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** A table's header (5.2.6) in front of its body, with the checksum set. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = concat(
    ascii(signature),
    u32(HEADER_BYTES + body.length),
    Uint8Array.of(revision, 0),
    ascii(OEM_ID),
    ascii(OEM_TABLE_ID),
    u32(1),
    ascii(CREATOR_ID),
    u32(1),
    body,
  );
  bytes[9] = checksum(bytes);
  return bytes;
}

/** FACS, 5.2.10: has neither the usual header nor a checksum. */
function firmwareControl(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(ascii("FACS"));
  bytes.set(u32(bytes.length), 4);
  bytes[32] = 2;
  return bytes;
}

/** FADT flags, table 5.10. */
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
/** The sleep button is no fixed feature (there is none); the power button, its bit clear, is. */
const FADT_SLP_BUTTON = 1 << 5;
const FADT_FIX_RTC = 1 << 6;
const FADT_RESET_REG_SUP = 1 << 10;
/** IAPC_BOOT_ARCH, table 5.11. */
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_8042 = 1 << 1;
const BOOT_VGA_NOT_PRESENT = 1 << 2;
const BOOT_PCIE_ASPM = 1 << 4;
/** Slower than 100 and 1000 microseconds: C2 and C3 do not exist. */
const NO_C2_LATENCY = 101;
const NO_C3_LATENCY = 1001;

/** FADT, 5.2.9, ACPI 6.5 layout; offsets are those of the whole table. */
function fixedDescription(facs: number, dsdt: number): Uint8Array {
  const FADT_BYTES = 276;
  const bytes = new Uint8Array(FADT_BYTES);
  bytes.set(u32(facs), 36);
  bytes.set(u32(dsdt), 40);
  bytes.set(u16(SCI_IRQ), 46);
  bytes.set(u32(PM_PORTS.pm1Event), 56);
  bytes.set(u32(PM_PORTS.pm1Control), 64);
  bytes.set(u32(PM_PORTS.timer), 76);
  bytes.set(u32(PM_PORTS.gpe0), 80);
  bytes[88] = PM_BYTES.pm1Event;
  bytes[89] = PM_BYTES.pm1Control;
  bytes[91] = PM_BYTES.timer;
  bytes[92] = PM_BYTES.gpe0;
  bytes.set(u16(NO_C2_LATENCY), 96);
  bytes.set(u16(NO_C3_LATENCY), 98);
  bytes[108] = CMOS_CENTURY;
  bytes.set(u16(BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_VGA_NOT_PRESENT | BOOT_PCIE_ASPM), 109);
  bytes.set(u32(FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP), 112);
  bytes.set(portRegister(RESET_PORT, 1, "byte"), 116);
  bytes[128] = RESET_VALUE;
  const MINOR_VERSION = 5;
  bytes[131] = MINOR_VERSION;
  // X_FIRMWARE_CTRL stays zero: FIRMWARE_CTRL is in use (they exclude each other).
  bytes.set(u64(dsdt), 140);
  bytes.set(portRegister(PM_PORTS.pm1Event, PM_BYTES.pm1Event, "word"), 148);
  bytes.set(portRegister(PM_PORTS.pm1Control, PM_BYTES.pm1Control, "word"), 172);
  bytes.set(portRegister(PM_PORTS.timer, PM_BYTES.timer, "doubleword"), 208);
  bytes.set(portRegister(PM_PORTS.gpe0, PM_BYTES.gpe0, "byte"), 220);
  return bytes.subarray(HEADER_BYTES);
}

/** Access sizes of a generic address structure: the width the register block is read and written in. */
type AccessWidth = "byte" | "word" | "doubleword";
const ACCESS_SIZE = { byte: 1, word: 2, doubleword: 3 } as const;

/** A generic address structure for a register block in I/O space (5.2.3.2). */
function portRegister(port: number, byteLength: number, width: AccessWidth): Uint8Array {
  const SYSTEM_IO = 1;
  return concat(Uint8Array.of(SYSTEM_IO, byteLength * 8, 0, ACCESS_SIZE[width]), u64(port));
}

/** MADT, 5.2.12: Local APICs, the IOAPIC, ISA interrupts that are not wired straight, NMI on LINT1. */
function interruptControllers(cpus: number): Uint8Array {
  const PCAT_COMPAT = 1;
  const ENABLED = 1;
  const ALL_PROCESSORS = 0xff;
  const CONFORMING = 0;
  const LEVEL_ACTIVE_HIGH = 0x0d;
  const override = (irq: number, gsi: number, flags: number): Uint8Array =>
    concat(Uint8Array.of(2, 10, 0, irq), u32(gsi), u16(flags));
  return concat(
    u32(LAPIC_ADDRESS),
    u32(PCAT_COMPAT),
    ...Array.from({ length: cpus }, (_, id) => concat(Uint8Array.of(0, 8, id, id), u32(ENABLED))),
    concat(Uint8Array.of(1, 12, 0, 0), u32(IOAPIC_BASE), u32(0)),
    override(0, 2, CONFORMING),
    override(SCI_IRQ, SCI_IRQ, LEVEL_ACTIVE_HIGH),
    concat(Uint8Array.of(4, 6, ALL_PROCESSORS), u16(CONFORMING), Uint8Array.of(1)),
  );
}

function configurationSpace(): Uint8Array {
  return concat(new Uint8Array(8), u64(ECAM_BASE), u16(0), Uint8Array.of(0, ECAM_BUSES - 1), u32(0));
}

/** The byte that makes the sum of all bytes (its own place being zero) a multiple of 256. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function ascii(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
