/**
 * Loads a bzImage as "The Linux/x86 Boot Protocol" (Documentation/arch/x86/boot.rst) describes, sections "The
 * Real-Mode Kernel Header" to "64-bit Boot Protocol": 64-bit entry where the kernel has one, else the 32-bit one.
 * The kernel's real-mode part never runs. Left out: setup_data, EFI hand-over, protocols before 2.10 (Linux 2.6.31).
 */
import { VmError } from "../errors.js";
import type { Registers } from "../native/engine.js";
import {
  BOOT_LAYOUT,
  enterKernel,
  type MemoryWriter,
  memoryTooSmall,
  placeInitrd,
  writeCommandLine,
} from "./boot-state.js";
import { E820_TYPE, FIRMWARE_TABLES_END, lowRamEnd, memoryMap } from "./memory-map.js";

/** Offsets in the file and, from SETUP_SECTS on, in boot_params alike. */
const OFFSET = {
  setupSects: 0x1f1,
  /** Size of the protected-mode kernel in units of 16 bytes. */
  syssize: 0x1f4,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatable: 0x234,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  setupData: 0x250,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

/** Fields of boot_params outside the setup header (arch/x86/include/uapi/asm/bootparam.h). */
const PARAMS = { acpiRsdpAddr: 0x070, e820Entries: 0x1e8, vidMode: 0x1fa, e820Table: 0x2d0, bytes: 4096 } as const;

const BOOT_FLAG = 0xaa55;
const HEADER_MAGIC = 0x5372_6448;
const OLDEST_VERSION = 0x020a;
const VERSION_WITH_XLOADFLAGS = 0x020c;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const LOADER_UNDEFINED = 0xff;
const VIDEO_MODE_NORMAL = 0xffff;
const SECTOR = 512;
const ENTRY_64_OFFSET = 0x200;
/** The header ends with initSize in protocol 2.10. */
const SHORTEST_HEADER_END = OFFSET.initSize + 4;

export interface LinuxBoot {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  readonly memoryBytes: number;
  /** Guest-physical address of ACPI's RSDP. */
  readonly rsdpAddress: number;
}

/** What the setup header says, checked against the file. */
export interface SetupHeader {
  /** Protocol version, major in the high byte. */
  readonly version: number;
  /** File offset of the protected-mode kernel. */
  readonly kernelOffset: number;
  /** Offset behind the last byte of the header, in the file and in boot_params. */
  readonly headerEnd: number;
  readonly has64BitEntry: boolean;
  readonly relocatable: boolean;
  /** Alignment of the load address in bytes, a power of two. */
  readonly alignment: number;
  readonly preferredAddress: number;
  /** Bytes the kernel needs from its load address on until it has read the memory map. */
  readonly initSize: number;
  /** Longest command line in bytes, without its NUL. */
  readonly commandLineBytes: number;
  /** Last address an initrd may occupy, inclusive. */
  readonly initrdAddressMax: number;
}

/** True if the file has a bzImage's signature; it may still be invalid. */
export function isBzImage(file: Uint8Array): boolean {
  return (
    file.length >= OFFSET.magic + 4 &&
    viewOf(file).getUint16(OFFSET.bootFlag, true) === BOOT_FLAG &&
    viewOf(file).getUint32(OFFSET.magic, true) === HEADER_MAGIC
  );
}

/**
 * Reads and checks a bzImage's setup header.
 * @throws VmError VM_KERNEL_INVALID
 */
export function parseSetupHeader(file: Uint8Array): SetupHeader {
  if (!isBzImage(file)) throw invalid("it has no Linux setup header");
  if (file.length < SHORTEST_HEADER_END) throw invalid("it ends within its setup header");
  const view = viewOf(file);
  const version = view.getUint16(OFFSET.version, true);
  if (version < OLDEST_VERSION) throw invalid(`its boot protocol ${dotted(version)} is older than 2.10 (Linux 2.6.31)`);
  if ((view.getUint8(OFFSET.loadflags) & LOADED_HIGH) === 0) throw invalid("it is a zImage, which loads below 1 MiB");
  const headerEnd = OFFSET.magic + view.getUint8(OFFSET.jump + 1);
  if (headerEnd < SHORTEST_HEADER_END) throw invalid("its setup header is shorter than its boot protocol's");
  // Zero setup sectors mean four, for the sake of very old kernels; the boot sector comes on top.
  const kernelOffset = ((view.getUint8(OFFSET.setupSects) || 4) + 1) * SECTOR;
  if (headerEnd > kernelOffset) throw invalid("its setup header reaches into its kernel");
  if (file.length < kernelOffset + ENTRY_64_OFFSET + 1) throw invalid("it ends before its protected-mode kernel");
  const alignment = view.getUint32(OFFSET.kernelAlignment, true);
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0)
    throw invalid(`its alignment ${alignment} is no power of two`);
  const preferred = view.getBigUint64(OFFSET.prefAddress, true);
  const syssize = view.getUint32(OFFSET.syssize, true) * 16;
  if (file.length < kernelOffset + syssize) {
    throw invalid(`it is cut short: ${file.length} bytes of ${kernelOffset + syssize}`);
  }
  return {
    version,
    kernelOffset,
    headerEnd,
    has64BitEntry:
      version >= VERSION_WITH_XLOADFLAGS && (view.getUint16(OFFSET.xloadflags, true) & XLF_KERNEL_64) !== 0,
    relocatable: view.getUint8(OFFSET.relocatable) !== 0,
    alignment,
    preferredAddress: Number(preferred > 0xffff_ffffn ? 0xffff_ffffn : preferred),
    initSize: view.getUint32(OFFSET.initSize, true),
    commandLineBytes: view.getUint32(OFFSET.cmdlineSize, true),
    initrdAddressMax: view.getUint32(OFFSET.initrdAddrMax, true),
  };
}

/**
 * Writes kernel, initrd, command line and boot_params, and returns the registers to enter with.
 * @throws VmError VM_KERNEL_INVALID, VM_INITRD_INVALID, VM_MEMORY_TOO_SMALL, VM_CONFIG_INVALID (command line)
 */
export function loadLinux(memory: MemoryWriter, boot: LinuxBoot): Registers {
  const header = parseSetupHeader(boot.kernel);
  const image = boot.kernel.subarray(header.kernelOffset);
  const kernelBytes = Math.max(image.length, header.initSize);
  const loadAddress = chooseLoadAddress(header, kernelBytes, boot.memoryBytes);
  writeCommandLine(memory, boot.commandLine, header.commandLineBytes);
  memory.write(loadAddress, image);

  const params = new Uint8Array(PARAMS.bytes);
  const view = viewOf(params);
  params.set(boot.kernel.subarray(OFFSET.setupSects, header.headerEnd), OFFSET.setupSects);
  view.setUint16(PARAMS.vidMode, VIDEO_MODE_NORMAL, true);
  view.setUint8(OFFSET.typeOfLoader, LOADER_UNDEFINED);
  view.setUint32(OFFSET.code32Start, loadAddress, true);
  view.setUint32(OFFSET.cmdLinePtr, BOOT_LAYOUT.commandLine, true);
  view.setBigUint64(OFFSET.setupData, 0n, true);
  view.setUint32(OFFSET.ramdiskImage, 0, true);
  view.setUint32(OFFSET.ramdiskSize, 0, true);
  if (boot.initrd !== undefined) {
    const address = placeInitrd(memory, boot.initrd, {
      memoryBytes: boot.memoryBytes,
      kernelEnd: loadAddress + kernelBytes,
      addressMax: header.initrdAddressMax,
    });
    // Always below 4 GiB, so ext_ramdisk_image and ext_ramdisk_size stay zero.
    view.setUint32(OFFSET.ramdiskImage, address, true);
    view.setUint32(OFFSET.ramdiskSize, boot.initrd.length, true);
  }
  view.setBigUint64(PARAMS.acpiRsdpAddr, BigInt(boot.rsdpAddress), true);
  writeE820(view, boot.memoryBytes);
  memory.write(BOOT_LAYOUT.zeroPage, params);

  const rip = header.has64BitEntry ? loadAddress + ENTRY_64_OFFSET : loadAddress;
  return enterKernel(memory, header.has64BitEntry ? "long64" : "protected32", { rip, rsi: BOOT_LAYOUT.zeroPage });
}

/**
 * The preferred address, which is also the lowest at which a relocatable kernel runs (it moves itself up to it).
 * Nothing is loaded below 1 MiB.
 */
function chooseLoadAddress(header: SetupHeader, kernelBytes: number, memoryBytes: number): number {
  const lowest = Math.max(header.preferredAddress, header.relocatable ? FIRMWARE_TABLES_END : 0);
  const address = header.relocatable ? Math.ceil(lowest / header.alignment) * header.alignment : lowest;
  if (address < FIRMWARE_TABLES_END || address + kernelBytes > lowRamEnd(Number.MAX_SAFE_INTEGER)) {
    throw invalid(`it wants ${kernelBytes} bytes at address 0x${address.toString(16)}, where no machine has memory`);
  }
  if (address + kernelBytes > lowRamEnd(memoryBytes)) {
    throw memoryTooSmall(address + kernelBytes, memoryBytes, "this kernel");
  }
  return address;
}

function writeE820(params: DataView, memoryBytes: number): void {
  const entries = memoryMap(memoryBytes);
  params.setUint8(PARAMS.e820Entries, entries.length);
  entries.forEach((entry, index) => {
    const at = PARAMS.e820Table + index * 20;
    params.setBigUint64(at, BigInt(entry.address), true);
    params.setBigUint64(at + 8, BigInt(entry.length), true);
    params.setUint32(at + 16, E820_TYPE[entry.kind], true);
  });
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function dotted(version: number): string {
  return `${version >> 8}.${(version & 0xff).toString().padStart(2, "0")}`;
}

function invalid(reason: string): VmError {
  return new VmError("VM_KERNEL_INVALID", `the kernel cannot be booted: ${reason}`, {
    hint: "Give a Linux bzImage (such as /boot/vmlinuz-*) or an ELF kernel with a PVH note with --kernel.",
  });
}
