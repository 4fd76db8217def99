/**
 * What people write to run a VM, in the API and on the command line, and how it becomes a checked `VmConfig`: units are
 * parsed, an image's name becomes its files, paths become absolute.
 */
import { resolve } from "node:path";
import { parseConfig } from "../config/load.js";
import { parseCpuOption, parseDeviceOption, parseDiskOption, parseSerialOption } from "../config/option-text.js";
import type { VmConfig, VmConfigInput } from "../config/schema.js";
import { parseDuration, parseSize } from "../config/units.js";
import { VmError } from "../errors.js";
import { resolveHome } from "../store/home.js";
import { findImage, type Image } from "../store/images.js";
import { buildMini, MINI } from "../store/mini-image.js";

/** A VM to run. Either `image` or `kernel` is needed. */
export interface VmOptions {
  /** Name of an image in the data directory; "mini" is built when it is absent. */
  readonly image?: string;
  /** Path of a bzImage, or of an ELF kernel with a PVH note. */
  readonly kernel?: string;
  /** Path of the initial RAM disk. */
  readonly initrd?: string;
  /** Kernel command line. With an image it is added to the image's own. */
  readonly append?: string;
  /** Guest RAM: bytes, or text with a unit ("512MiB"). 512 MiB unless given. */
  readonly memory?: number | string;
  /** `MODEL[,vendor=V][,+feature][,-feature]`, or the same as an object. */
  readonly cpu?: string | NonNullable<VmConfigInput["cpu"]>;
  /** Raw disks: `FILE[,ro]`, or objects. */
  readonly disks?: readonly (string | NonNullable<VmConfigInput["disks"]>[number])[];
  /** Where COM1 goes: "stdio" (this process, unless given), "none", "file:PATH". */
  readonly serial?: string;
  /** Further devices: `NAME[,key=value]`, or objects. */
  readonly devices?: readonly (string | NonNullable<VmConfigInput["devices"]>[number])[];
  /** "interp". */
  readonly engine?: string;
  /** Makes the machine deterministic: seeded randomness, fixed wall clock, time by instructions. */
  readonly seed?: number;
  /** What a reset by the guest does: "restart" (unless given) or "exit". */
  readonly onReset?: "restart" | "exit";
  /** Ends the VM after this long: milliseconds, or text with a unit ("30s"). */
  readonly timeout?: number | string;
  /** Data directory; VMDECK_HOME or the user's own unless given. */
  readonly home?: string;
}

/** What a build of an image says while it works. */
export type ProgressListener = (line: string) => void;

/** How the resolution may take its time. */
export interface ResolveOptions {
  /** Ends the building of an image. */
  readonly signal?: AbortSignal | undefined;
  /** Told what happens while an image is built. */
  readonly onProgress?: ProgressListener | undefined;
}

export interface ResolvedVm {
  readonly config: VmConfig;
  readonly timeoutMs: number | undefined;
}

/**
 * Turns options into a checked configuration, building the image "mini" when it is asked for and absent.
 * @throws VmError VM_USAGE, VM_CONFIG_INVALID, VM_IMAGE_NOT_FOUND, VM_IMAGE_DAMAGED, VM_HOME_UNUSABLE and what building reports.
 */
export async function resolveVm(options: VmOptions, resolving: ResolveOptions = {}): Promise<ResolvedVm> {
  // What is cheap to check comes before what takes minutes to build.
  const input = {
    ...(options.memory === undefined ? {} : { memoryBytes: asNumber(options.memory, parseSize) }),
    ...(options.cpu === undefined ? {} : { cpu: asObject(options.cpu, parseCpuOption) }),
    disks: (options.disks ?? []).map((disk) => asObject(disk, parseDiskOption)),
    ...(options.serial === undefined ? {} : { serial: parseSerialOption(options.serial) }),
    devices: (options.devices ?? []).map((device) => asObject(device, parseDeviceOption)),
    ...(options.engine === undefined ? {} : { engine: options.engine }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.onReset === undefined ? {} : { onReset: options.onReset }),
  };
  const timeoutMs = options.timeout === undefined ? undefined : asNumber(options.timeout, parseDuration);
  if (timeoutMs !== undefined && !(Number.isInteger(timeoutMs) && timeoutMs > 0)) {
    throw new VmError("VM_USAGE", `${timeoutMs} is not a timeout`, { hint: "give a positive number of milliseconds" });
  }
  parseConfig({ ...input, boot: { kind: "linux", kernel: options.kernel ?? "unresolved" } });
  return { config: parseConfig({ ...input, boot: await resolveBoot(options, resolving) }), timeoutMs };
}

async function resolveBoot(options: VmOptions, resolving: ResolveOptions): Promise<VmConfigInput["boot"]> {
  if (options.image !== undefined && options.kernel !== undefined) {
    throw new VmError("VM_USAGE", "an image and a kernel are given; a VM boots one of them", {
      hint: "leave out either IMAGE or --kernel",
    });
  }
  if (options.kernel !== undefined) {
    const initrd = options.initrd === undefined ? {} : { initrd: resolve(options.initrd) };
    return { kind: "linux", kernel: resolve(options.kernel), ...initrd, append: options.append ?? "console=ttyS0" };
  }
  if (options.image === undefined) {
    throw new VmError("VM_USAGE", "nothing to boot is given", {
      hint: "name an image (`vmdeck run mini`) or a kernel (`vmdeck run --kernel FILE --initrd FILE`)",
    });
  }
  const image = await openImage(
    options.image,
    options.home === undefined ? resolveHome() : resolve(options.home),
    resolving,
  );
  const append = [image.manifest.append, options.append ?? ""].filter((part) => part !== "").join(" ");
  const initrd = options.initrd === undefined ? image.initrdPath : resolve(options.initrd);
  return { kind: "linux", kernel: image.kernelPath, initrd, append };
}

/** The image of this name; `mini` is built when it is not there. */
async function openImage(name: string, home: string, resolving: ResolveOptions): Promise<Image> {
  try {
    return await findImage(home, name);
  } catch (error) {
    const absent = error instanceof VmError && error.code === "VM_IMAGE_NOT_FOUND";
    if (!absent || name !== MINI) throw error;
    return await buildMini(home, resolving);
  }
}

function asNumber(value: number | string, parse: (text: string) => number): number {
  return typeof value === "number" ? value : parse(value);
}

function asObject<T extends object>(value: T | string, parse: (text: string) => T): T {
  return typeof value === "string" ? parse(value) : value;
}
