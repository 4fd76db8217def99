/**
 * The board every machine has: interrupt controllers are wired in `build.ts`; here are the timers, the clock, the
 * keyboard controller, power management and the PCI host bridge.
 */
import { AcpiPm } from "../devices/acpi-pm.js";
import type { Device } from "../devices/device.js";
import { I8042 } from "../devices/i8042.js";
import { ECAM_BASE, ECAM_BYTES, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, PciHost } from "../devices/pci-host.js";
import { Pit8254 } from "../devices/pit8254.js";
import { Rtc } from "../devices/rtc.js";
import { A20Gate, SystemControl } from "../devices/system-control.js";
import { lowRamEnd } from "../firmware/memory-map.js";
import type { Slots } from "./plug-in.js";

/** The FADT declares a 24-bit timer (TMR_VAL_EXT clear). */
const PM_TIMER_BITS = 24;

export interface Board {
  readonly devices: readonly Device[];
  pressPowerButton(): void;
}

/** Creates the board's devices and claims their ports and regions. */
export function plugBoard({ context, ports, mmio, pci }: Slots, memoryBytes: number): Board {
  const a20 = new A20Gate();
  const pit = new Pit8254(context);
  const low = lowRamEnd(memoryBytes);
  const rtc = new Rtc(context, { lowMemoryBytes: low, highMemoryBytes: memoryBytes - low });
  const keyboard = new I8042(context, a20);
  const power = new AcpiPm(context, { timerBits: PM_TIMER_BITS });
  const control = new SystemControl(context, pit, a20);
  const host = new PciHost(pci, control);
  const onPorts = [pit, rtc, keyboard, power, control];
  for (const device of onPorts) device.attach(ports);
  ports.claim(PCI_CONFIG_PORT, PCI_CONFIG_PORTS, host);
  mmio.claim(ECAM_BASE, ECAM_BYTES, host);
  return { devices: [...onPorts, host], pressPowerButton: () => power.pressPowerButton() };
}
