/**
 * Builds `mini`, the default guest: Debian's unmodified cloud kernel, and an initramfs of busybox, the drivers of our
 * devices and an init of our own. Nothing is run of what is fetched, so any host that has apt can build it.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { VmError } from "../errors.js";
import { parseSetupHeader } from "../firmware/linux.js";
import { type AptOptions, type PackageRecord, PrivateApt } from "./apt.js";
import { type CpioEntry, writeCpio } from "./cpio.js";
import { createStaging, type Image, publishImage } from "./images.js";
import { aliasIndex, dependencyIndex, type KernelModule, selectModules } from "./kernel-modules.js";
import { miniFiles } from "./mini-files.js";

/** Name of the image, the one that is built on demand. */
export const MINI = "mini";

const KERNEL_METAPACKAGE = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE = "busybox-static";
/** Packages that a kernel's files may be spread over; all else a kernel depends on serves installed systems. */
const KERNEL_PACKAGE = /^linux-(image|binary|modules)-\d/;

/** Drivers of our own devices and of what people put on disks; those that the kernel has built in need no file. */
const MODULES = {
  required: ["virtio_pci", "virtio_blk"],
  optional: ["virtio_console", "virtio_rng", "virtio_net", "virtio_balloon", "button", "crc32c_generic", "ext4"],
} as const;

/**
 * The console, errors only, and less of what only costs time here: mitigations of flaws that an emulated processor does
 * not have, a random load address, self-tests of ciphers. A panic is still shown, and stops the machine as Linux's default is.
 */
const COMMAND_LINE = "console=ttyS0 quiet mitigations=off nokaslr cryptomgr.notests=1";

export type MiniOptions = AptOptions;

/**
 * Builds the image and puts it in place of the one there is, if any. When it fails, that one is untouched.
 * @param home the data directory
 * @throws VmError VM_APT_MISSING, VM_IMAGE_BUILD_FAILED, VM_HOME_UNUSABLE; the signal's reason when it is aborted
 */
export async function buildMini(home: string, options: MiniOptions = {}): Promise<Image> {
  const staging = await createStaging(home);
  try {
    const apt = await PrivateApt.create(staging, options);
    await apt.update();
    const packages = await resolvePackages(apt);
    const root = join(staging, "root");
    for (const path of await apt.download(packages)) await apt.unpack(path, root);
    options.onProgress?.("packing the initramfs");
    const builtAt = new Date();
    const kernel = await readKernel(root);
    const modules = await selectModules(kernel.modulesDirectory, MODULES, options);
    const busybox = await readFirst(root, ["bin/busybox", "usr/bin/busybox"]);
    const entries = [
      ...miniFiles(kernel.release),
      { kind: "file", path: "bin/busybox", mode: 0o755, contents: busybox } as const,
      ...moduleEntries(kernel.release, modules),
    ];
    const image = await publishImage(home, {
      name: MINI,
      append: COMMAND_LINE,
      packages: packages.map(({ name, version, architecture, sha256 }) => ({ name, version, architecture, sha256 })),
      kernel: kernel.image,
      initrd: writeCpio(entries, Math.floor(builtAt.getTime() / 1000)),
      builtAt,
    });
    options.onProgress?.(`image ${MINI} is ready: Linux ${kernel.release}`);
    return image;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** The packages to unpack: the kernel that the metapackage stands for, what that is split into, and busybox. */
async function resolvePackages(apt: PrivateApt): Promise<PackageRecord[]> {
  const resolved = new Map<string, PackageRecord>();
  const visit = async (record: PackageRecord): Promise<void> => {
    for (const name of record.depends) {
      if (!KERNEL_PACKAGE.test(name) || resolved.has(name)) continue;
      const dependency = await apt.describe(name);
      resolved.set(name, dependency);
      await visit(dependency);
    }
  };
  await visit(await apt.describe(KERNEL_METAPACKAGE));
  if (resolved.size === 0) throw failed(`${KERNEL_METAPACKAGE} stands for no kernel`);
  return [...resolved.values(), await apt.describe(BUSYBOX_PACKAGE)];
}

interface UnpackedKernel {
  /** As uname -r tells it. */
  readonly release: string;
  readonly image: Uint8Array;
  readonly modulesDirectory: string;
}

async function readKernel(root: string): Promise<UnpackedKernel> {
  for (const modules of [join(root, "lib", "modules"), join(root, "usr", "lib", "modules")]) {
    const [release] = await readdir(modules).catch(() => []);
    if (release === undefined) continue;
    const image = await readFirst(root, [
      `boot/vmlinuz-${release}`,
      `lib/modules/${release}/vmlinuz`,
      `usr/lib/modules/${release}/vmlinuz`,
    ]);
    parseSetupHeader(image);
    return { release, image, modulesDirectory: join(modules, release) };
  }
  throw failed("the kernel package has no modules");
}

async function readFirst(root: string, paths: readonly string[]): Promise<Uint8Array> {
  for (const path of paths) {
    const contents = await readFile(join(root, path)).catch(() => undefined);
    if (contents !== undefined) return contents;
  }
  throw failed(`the packages have no ${paths.join(" or ")}`);
}

/** The modules where modprobe looks for them, with its indexes and all directories on the way. */
function moduleEntries(release: string, modules: readonly KernelModule[]): CpioEntry[] {
  const base = `lib/modules/${release}`;
  const files: CpioEntry[] = [
    { kind: "file", path: `${base}/modules.dep`, contents: new TextEncoder().encode(dependencyIndex(modules)) },
    { kind: "file", path: `${base}/modules.alias`, contents: new TextEncoder().encode(aliasIndex(modules)) },
    ...modules.map(({ path, contents }): CpioEntry => ({ kind: "file", path: `${base}/${path}`, contents })),
  ];
  const directories = new Set<string>();
  for (const { path } of files) {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) directories.add(parts.slice(0, depth).join("/"));
  }
  return [...[...directories].sort().map((path): CpioEntry => ({ kind: "directory", path })), ...files];
}

function failed(message: string): VmError {
  return new VmError("VM_IMAGE_BUILD_FAILED", message, {
    hint: "Boot a kernel and initrd of your own instead: vmdeck run --kernel FILE --initrd FILE.",
  });
}
