/**
 * Plugs in what the configuration names: the serial port's far end, disks, and further devices. PCI slots are given in
 * the order of the configuration, so that a guest finds its devices where they were.
 */
import type { MmioBus } from "../bus/mmio.js";
import type { PciBus } from "../bus/pci.js";
import type { PortBus } from "../bus/ports.js";
import type { VmConfig } from "../config/schema.js";
import type { Device, DeviceContext } from "../devices/device.js";
import { IsaDebugExit } from "../devices/isa-debug-exit.js";
import { Uart16550 } from "../devices/uart16550.js";
import { VirtioBlock } from "../devices/virtio/block.js";
import { VirtioConsole } from "../devices/virtio/console.js";
import { VirtioPci } from "../devices/virtio/pci-transport.js";
import { VirtioRng } from "../devices/virtio/rng.js";
import type { ByteSink } from "../display/byte-sink.js";
import { assertNever, VmError } from "../errors.js";
import { openRawDisk } from "../storage/raw.js";
import { FileSink } from "./file-sink.js";

/** Where devices can be put, and what they see. */
export interface Slots {
  readonly context: DeviceContext;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly pci: PciBus;
}

/** Something outside that a device writes to, to be closed at the end. */
export interface BackEnd {
  close(): Promise<void>;
  /** Closes it for a machine that could not be built, leaving nothing half-made; as `close` where it is not there. */
  abandon?(): Promise<void>;
  /** A promise while it is behind and the guest should wait. */
  backlog?(): Promise<void> | undefined;
}

type DeviceConfig = VmConfig["devices"][number];
type SerialConfig = VmConfig["serial"];

const COM1 = { name: "serial0", basePort: 0x3f8, irq: 4 } as const;
const FIRST_SLOT = 1;
const LAST_SLOT = 31;
/** isa-debug-exit takes four ports. */
const LAST_EXIT_PORT = 0xfffc;
const DISCARD: ByteSink = { write: () => {} };

/** What `--device` takes, and the options of each. */
const DEVICE_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  "isa-debug-exit": ["iobase"],
  "virtio-rng": [],
  "virtio-console": ["path"],
};

/**
 * Opens back ends and creates the devices. Every back end is handed to `opened` as soon as it is open, so that it is
 * closed even if a later one fails.
 * @throws VmError VM_DEVICE_UNKNOWN, VM_CONFIG_INVALID, VM_FILE_UNREADABLE, and what opening a disk throws.
 */
export async function plugConfigured(
  slots: Slots,
  config: VmConfig,
  console: ByteSink,
  opened: (backEnd: BackEnd) => void,
): Promise<Device[]> {
  const { context, ports, pci } = slots;
  const devices: Device[] = [];
  let nextSlot = FIRST_SLOT;
  const slot = () => {
    if (nextSlot > LAST_SLOT) {
      throw new VmError("VM_CONFIG_INVALID", "there are more disks and devices than PCI slots", {
        hint: `configure at most ${LAST_SLOT}`,
      });
    }
    return nextSlot++;
  };

  const uart = new Uart16550(context, { ...COM1, sink: await openSerial(config.serial, slots, console, opened) });
  uart.attach(ports);
  devices.push(uart);

  for (const [index, disk] of config.disks.entries()) {
    const backEnd = await openRawDisk(disk.path, { readOnly: disk.readOnly });
    opened(backEnd);
    devices.push(new VirtioPci(context, pci, slot(), new VirtioBlock(context, backEnd, `disk${index}`)));
  }

  const counts = new Map<string, number>();
  for (const device of config.devices) {
    checkOptions(device);
    const count = counts.get(device.name) ?? 0;
    counts.set(device.name, count + 1);
    devices.push(await plugDevice(device, count, slots, slot, opened));
  }
  return devices;
}

async function openSerial(
  serial: SerialConfig,
  slots: Slots,
  console: ByteSink,
  opened: (backEnd: BackEnd) => void,
): Promise<ByteSink> {
  switch (serial.kind) {
    case "stdio":
      return console;
    case "none":
      // The port is there and takes what it is sent, as one with nothing plugged in.
      return DISCARD;
    case "file":
      return await openFile(serial.path, COM1.name, slots, opened);
    default:
      return assertNever(serial);
  }
}

async function openFile(
  path: string,
  device: string,
  slots: Slots,
  opened: (backEnd: BackEnd) => void,
): Promise<FileSink> {
  const file = await FileSink.open(path, (message) => slots.context.warn(device, message));
  opened(file);
  return file;
}

function checkOptions({ name, options }: DeviceConfig): void {
  const known = Object.hasOwn(DEVICE_OPTIONS, name) ? DEVICE_OPTIONS[name] : undefined;
  if (known === undefined) {
    throw new VmError("VM_DEVICE_UNKNOWN", `there is no device ${name}`, {
      hint: `devices are ${Object.keys(DEVICE_OPTIONS).join(", ")}`,
    });
  }
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new VmError("VM_CONFIG_INVALID", `the device ${name} has no option ${unknown}`, {
    hint: known.length === 0 ? `${name} takes no options` : `${name} takes ${known.join(", ")}`,
  });
}

async function plugDevice(
  device: DeviceConfig,
  count: number,
  slots: Slots,
  slot: () => number,
  opened: (backEnd: BackEnd) => void,
): Promise<Device> {
  const { context, ports, pci } = slots;
  const name = `${device.name.replace("virtio-", "")}${count}`;
  switch (device.name) {
    case "isa-debug-exit":
      return plugDebugExit(device, count, context, ports);
    case "virtio-rng":
      return new VirtioPci(context, pci, slot(), new VirtioRng(context, name));
    case "virtio-console": {
      const path = device.options.path;
      const sink = path === undefined ? DISCARD : await openFile(path, name, slots, opened);
      return new VirtioPci(context, pci, slot(), new VirtioConsole(context, sink, name, name));
    }
    default:
      throw new VmError("VM_INTERNAL", `the device ${device.name} is known but cannot be made`);
  }
}

/** At port 0xf4 unless given, where test kernels expect it. */
function plugDebugExit(device: DeviceConfig, count: number, context: DeviceContext, ports: PortBus): Device {
  const base = device.options.iobase ?? "0xf4";
  const port = /^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(base) ? Number(base) : Number.NaN;
  if (count > 0 || !Number.isInteger(port) || port > LAST_EXIT_PORT) {
    throw new VmError("VM_CONFIG_INVALID", count > 0 ? "isa-debug-exit is given twice" : `iobase=${base} is no port`, {
      hint: "give isa-debug-exit once; iobase is a port number like 0xf4, at most 0xfffc",
    });
  }
  const exit = new IsaDebugExit(context, port);
  try {
    exit.attach(ports);
  } catch (cause) {
    throw new VmError("VM_CONFIG_INVALID", `port ${base} belongs to another device`, {
      cause,
      hint: "give isa-debug-exit another iobase",
    });
  }
  return exit;
}
