/**
 * The differentiated definition block: soft off, the PCI host bridge with its windows and interrupt routing, and
 * the ISA devices that cannot be enumerated (ACPI 6.5, sections 5.2.11.1, 6 and 7; PCI Firmware 3.3, 4.5 for _OSC).
 */
import { intxGsi } from "../bus/pci.js";
import { PCI_IO_WINDOW, PCI_MEMORY_WINDOW } from "../bus/pci-resources.js";
import { ACPI_GPE0_PORT, ACPI_PM_PORT, ACPI_PM_TIMER_PORT, S5_SLEEP_TYPE } from "../devices/acpi-pm.js";
import { ECAM_BASE, ECAM_BUSES, ECAM_BYTES, PCI_CONFIG_PORT, PCI_CONFIG_PORTS } from "../devices/pci-host.js";
import * as aml from "./aml.js";

/** I/O ports of the power management block. */
export const PM_PORTS = {
  pm1Event: ACPI_PM_PORT,
  pm1Control: ACPI_PM_PORT + 4,
  timer: ACPI_PM_TIMER_PORT,
  gpe0: ACPI_GPE0_PORT,
} as const;
/** Their lengths in bytes. */
export const PM_BYTES = { pm1Event: 4, pm1Control: 2, timer: 4, gpe0: 8 } as const;

/** What `_OSC` grants: PME (2), AER (3), PCIe capability structure control (4); no hot-plug of either kind. */
const OSC_GRANTED = 0x1c;
const OSC_PCI_UUID = "33DB4D5B-1FF7-401C-9657-7441C03DD766";
const OSC_REVISION_UNKNOWN = 0x08;
const OSC_UUID_UNKNOWN = 0x04;
const OSC_MASKED = 0x10;

/** The AML of the DSDT, without its table header. */
export function dsdtBody(): Uint8Array {
  const off = aml.integer(S5_SLEEP_TYPE);
  return aml.concat(
    aml.name("\\_S5", aml.pack(off, off, aml.integer(0), aml.integer(0))),
    aml.scope("\\_SB", hostBridge(), motherboard(), serialPort(), realTimeClock(), keyboard()),
  );
}

function hostBridge(): aml.Aml {
  return aml.device(
    "PCI0",
    aml.name("_HID", aml.eisaId("PNP0A08")),
    aml.name("_CID", aml.eisaId("PNP0A03")),
    aml.name("_UID", aml.integer(0)),
    aml.name("_SEG", aml.integer(0)),
    aml.name("_BBN", aml.integer(0)),
    aml.name(
      "_CRS",
      aml.resources(
        aml.busWindow(0, ECAM_BUSES - 1),
        aml.ports(PCI_CONFIG_PORT, PCI_CONFIG_PORTS),
        aml.portWindow(PCI_IO_WINDOW.first, PCI_IO_WINDOW.last),
        aml.memoryWindow(PCI_MEMORY_WINDOW.first, PCI_MEMORY_WINDOW.last),
      ),
    ),
    aml.name("_PRT", interruptRouting()),
    operatingSystemCapabilities(),
  );
}

/** Each device's pins, to be found on the IOAPIC without a link device between: { address, pin, 0, gsi }. */
function interruptRouting(): aml.Aml {
  const routes: aml.Aml[] = [];
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      // _PRT counts pins from 0, configuration space from 1.
      const gsi = intxGsi(slot, pin + 1);
      const ANY_FUNCTION = 0xffff;
      const address = slot * 0x1_0000 + ANY_FUNCTION;
      routes.push(aml.pack(aml.integer(address), aml.integer(pin), aml.integer(0), aml.integer(gsi)));
    }
  }
  return aml.pack(...routes);
}

/** Grants control of what the platform leaves to the system, masks the rest, and says so in the first doubleword. */
function operatingSystemCapabilities(): aml.Aml {
  const status = aml.path("CDW1");
  const control = aml.path("CDW3");
  const granted = aml.local(0);
  return aml.method(
    "_OSC",
    4,
    aml.createDwordField(aml.arg(3), 0, "CDW1"),
    aml.when(
      aml.equal(aml.arg(0), aml.uuid(OSC_PCI_UUID)),
      aml.createDwordField(aml.arg(3), 8, "CDW3"),
      aml.and(control, aml.integer(OSC_GRANTED), granted),
      aml.when(
        aml.not(aml.equal(aml.arg(1), aml.integer(1))),
        aml.or(status, aml.integer(OSC_REVISION_UNKNOWN), status),
      ),
      aml.when(aml.not(aml.equal(control, granted)), aml.or(status, aml.integer(OSC_MASKED), status)),
      aml.store(granted, control),
    ),
    aml.otherwise(aml.or(status, aml.integer(OSC_UUID_UNKNOWN), status)),
    aml.returns(aml.arg(3)),
  );
}

/** Claims what belongs to no device of its own, ECAM first: systems trust it only when it is reserved here. */
function motherboard(): aml.Aml {
  return aml.device(
    "MBRD",
    aml.name("_HID", aml.eisaId("PNP0C02")),
    aml.name("_UID", aml.integer(0)),
    aml.name(
      "_CRS",
      aml.resources(
        aml.fixedMemory(ECAM_BASE, ECAM_BYTES),
        aml.ports(PM_PORTS.pm1Event, PM_PORTS.timer + PM_BYTES.timer - PM_PORTS.pm1Event),
        aml.ports(PM_PORTS.gpe0, PM_BYTES.gpe0),
        aml.ports(0x4d0, 2),
      ),
    ),
  );
}

function serialPort(): aml.Aml {
  return isaDevice("COM1", "PNP0501", aml.ports(0x3f8, 8), aml.isaInterrupt(4));
}

function realTimeClock(): aml.Aml {
  return isaDevice("RTC", "PNP0B00", aml.ports(0x70, 2), aml.isaInterrupt(8));
}

function keyboard(): aml.Aml {
  return isaDevice("KBD", "PNP0303", aml.ports(0x60, 1), aml.ports(0x64, 1), aml.isaInterrupt(1));
}

function isaDevice(called: string, id: string, ...uses: readonly Uint8Array[]): aml.Aml {
  return aml.device(
    called,
    aml.name("_HID", aml.eisaId(id)),
    aml.name("_UID", aml.integer(0)),
    aml.name("_CRS", aml.resources(...uses)),
  );
}
