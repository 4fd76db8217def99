/**
 * Boots an ELF kernel by the PVH direct boot protocol (Xen, docs/misc/pvh.pandoc): the entry point stands in an
 * XEN_ELFNOTE_PHYS32_ENTRY note, the kernel is entered in flat 32-bit protected mode with ebx at hvm_start_info.
 * ELF32 and ELF64 (System V gABI, chapters 4 and 5). Left out: section headers, dynamic and relocatable files.
 */
import { VmError } from "../errors.js";
import type { Registers } from "../native/engine.js";
import {
  BOOT_LAYOUT,
  COMMAND_LINE_ROOM,
  enterKernel,
  type MemoryWriter,
  memoryTooSmall,
  placeInitrd,
  writeCommandLine,
} from "./boot-state.js";
import { E820_TYPE, FIRMWARE_TABLES_END, LOW_RAM_LIMIT, lowRamEnd, memoryMap } from "./memory-map.js";

const ELF_MAGIC = 0x464c_457f;
const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** More program headers than any kernel has; bounds the work a hostile file can ask for. */
const MOST_PROGRAM_HEADERS = 64;

const START_MAGIC = 0x336e_c578;
const START_INFO_BYTES = 56;
const MODULE_BYTES = 32;
const MEMMAP_BYTES = 24;
const ZEROES = new Uint8Array(1 << 20);

export interface PvhBoot {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  readonly memoryBytes: number;
  /** Guest-physical address of ACPI's RSDP. */
  readonly rsdpAddress: number;
}

/** A part of the file that goes to memory at `address`, followed by zeroes up to `memoryBytes`. */
export interface ElfSegment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly memoryBytes: number;
}

/** An ELF kernel's loadable segments, in ascending order without overlaps, and its PVH entry point. */
export interface PvhKernel {
  readonly segments: readonly ElfSegment[];
  readonly entry: number;
}

/** True if the file has ELF's signature; it may still be invalid. */
export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && viewOf(file).getUint32(0, true) === ELF_MAGIC;
}

/**
 * Reads and checks an ELF kernel with a PVH note.
 * @throws VmError VM_KERNEL_INVALID
 */
export function parsePvhKernel(file: Uint8Array): PvhKernel {
  const segments: ElfSegment[] = [];
  let entry: number | undefined;
  for (const header of programHeaders(file)) {
    if (header.type !== PT_LOAD && header.type !== PT_NOTE) continue;
    if (header.offset + header.fileBytes > file.length) throw invalid("a segment lies outside the file");
    const bytes = file.subarray(header.offset, header.offset + header.fileBytes);
    if (header.type === PT_NOTE) {
      entry ??= physicalEntry(bytes, header.alignment);
    } else if (header.memoryBytes > 0) {
      if (header.fileBytes > header.memoryBytes) throw invalid("a segment is larger in the file than in memory");
      segments.push({ address: header.physicalAddress, bytes, memoryBytes: header.memoryBytes });
    }
  }
  if (segments.length === 0) throw invalid("it has nothing to load");
  if (entry === undefined) throw invalid("it has no PVH entry note (CONFIG_PVH in Linux)");
  segments.sort((a, b) => a.address - b.address);
  let end = FIRMWARE_TABLES_END;
  for (const segment of segments) {
    if (segment.address < end) throw invalid("its segments overlap each other or the first MiB");
    end = segment.address + segment.memoryBytes;
    if (end > LOW_RAM_LIMIT) throw invalid(`it wants memory up to 0x${end.toString(16)}, where no machine has any`);
  }
  const inside = segments.some((s) => entry >= s.address && entry < s.address + s.memoryBytes);
  if (!inside) throw invalid(`its entry point 0x${entry.toString(16)} lies outside its segments`);
  return { segments, entry };
}

/**
 * Writes kernel, initrd, command line and start info, and returns the registers to enter with.
 * @throws VmError VM_KERNEL_INVALID, VM_INITRD_INVALID, VM_MEMORY_TOO_SMALL, VM_CONFIG_INVALID (command line)
 */
export function loadPvh(memory: MemoryWriter, boot: PvhBoot): Registers {
  const kernel = parsePvhKernel(boot.kernel);
  const kernelEnd = Math.max(...kernel.segments.map((segment) => segment.address + segment.memoryBytes));
  if (kernelEnd > lowRamEnd(boot.memoryBytes)) throw memoryTooSmall(kernelEnd, boot.memoryBytes, "this kernel");
  writeCommandLine(memory, boot.commandLine, COMMAND_LINE_ROOM - 1);
  for (const segment of kernel.segments) {
    memory.write(segment.address, segment.bytes);
    writeZeroes(memory, segment.address + segment.bytes.length, segment.memoryBytes - segment.bytes.length);
  }

  const map = memoryMap(boot.memoryBytes);
  const block = new DataView(new ArrayBuffer(START_INFO_BYTES + MODULE_BYTES + map.length * MEMMAP_BYTES));
  const moduleAt = START_INFO_BYTES;
  const mapAt = moduleAt + MODULE_BYTES;
  block.setUint32(0, START_MAGIC, true);
  block.setUint32(4, 1, true);
  block.setUint32(12, boot.initrd === undefined ? 0 : 1, true);
  block.setBigUint64(16, BigInt(boot.initrd === undefined ? 0 : BOOT_LAYOUT.startInfo + moduleAt), true);
  block.setBigUint64(24, BigInt(BOOT_LAYOUT.commandLine), true);
  block.setBigUint64(32, BigInt(boot.rsdpAddress), true);
  block.setBigUint64(40, BigInt(BOOT_LAYOUT.startInfo + mapAt), true);
  block.setUint32(48, map.length, true);
  if (boot.initrd !== undefined) {
    const address = placeInitrd(memory, boot.initrd, {
      memoryBytes: boot.memoryBytes,
      kernelEnd,
      addressMax: LOW_RAM_LIMIT - 1,
    });
    block.setBigUint64(moduleAt, BigInt(address), true);
    block.setBigUint64(moduleAt + 8, BigInt(boot.initrd.length), true);
  }
  map.forEach((item, index) => {
    const at = mapAt + index * MEMMAP_BYTES;
    block.setBigUint64(at, BigInt(item.address), true);
    block.setBigUint64(at + 8, BigInt(item.length), true);
    block.setUint32(at + 16, E820_TYPE[item.kind], true);
  });
  memory.write(BOOT_LAYOUT.startInfo, new Uint8Array(block.buffer));
  return enterKernel(memory, "protected32", { rip: kernel.entry, rbx: BOOT_LAYOUT.startInfo });
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly physicalAddress: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly alignment: number;
}

function programHeaders(file: Uint8Array): ProgramHeader[] {
  if (!isElf(file)) throw invalid("it is no ELF file");
  if (file.length < 64) throw invalid("it ends within its ELF header");
  const view = viewOf(file);
  const elfClass = view.getUint8(4);
  if (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) throw invalid(`its ELF class ${elfClass} is unknown`);
  if (view.getUint8(5) !== ELFDATA2LSB) throw invalid("it is big-endian");
  const machine = view.getUint16(18, true);
  if (machine !== EM_386 && machine !== EM_X86_64) throw invalid(`its machine ${machine} is no x86`);
  if (view.getUint16(16, true) !== ET_EXEC) throw invalid("it is no executable");
  const wide = elfClass === ELFCLASS64;
  // Beyond 2^53 the sum loses precision but stays far outside every file and memory, so each check still refuses it.
  const word = (at: number): number => (wide ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const tableAt = word(wide ? 32 : 28);
  const entryBytes = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (count === 0 || count > MOST_PROGRAM_HEADERS) throw invalid(`it has ${count} program headers`);
  if (entryBytes < (wide ? 56 : 32)) throw invalid("its program headers are too short");
  if (tableAt + count * entryBytes > file.length) throw invalid("its program headers lie outside the file");
  return Array.from({ length: count }, (_, index) => {
    const at = tableAt + index * entryBytes;
    return {
      type: view.getUint32(at, true),
      offset: word(at + (wide ? 8 : 4)),
      physicalAddress: word(at + (wide ? 24 : 12)),
      fileBytes: word(at + (wide ? 32 : 16)),
      memoryBytes: word(at + (wide ? 40 : 20)),
      alignment: word(at + (wide ? 48 : 28)),
    };
  });
}

/** The 32-bit physical entry point in a note segment; undefined if no note of it tells one. */
function physicalEntry(notes: Uint8Array, segmentAlignment: number): number | undefined {
  const alignment = segmentAlignment === 8 ? 8 : 4;
  const align = (value: number): number => Math.ceil(value / alignment) * alignment;
  const view = viewOf(notes);
  let at = 0;
  while (at + 12 <= notes.length) {
    const nameBytes = view.getUint32(at, true);
    const descriptorBytes = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const nameAt = at + 12;
    const descriptorAt = at + align(12 + nameBytes);
    if (descriptorAt + descriptorBytes > notes.length) return undefined;
    const isXen = nameBytes === 4 && view.getUint32(nameAt, true) === 0x006e_6558;
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY) {
      if (descriptorBytes === 8) return Number(view.getBigUint64(descriptorAt, true));
      if (descriptorBytes === 4) return view.getUint32(descriptorAt, true);
      throw invalid(`its PVH entry note is ${descriptorBytes} bytes long`);
    }
    at = align(descriptorAt + descriptorBytes);
  }
  return undefined;
}

/** Memory behind a segment's file part is zero even after a reset, which leaves RAM as it was. */
function writeZeroes(memory: MemoryWriter, address: number, length: number): void {
  for (let done = 0; done < length; done += ZEROES.length) {
    memory.write(address + done, ZEROES.subarray(0, Math.min(ZEROES.length, length - done)));
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function invalid(reason: string): VmError {
  return new VmError("VM_KERNEL_INVALID", `the ELF kernel cannot be booted: ${reason}`, {
    hint: "Give a Linux bzImage (such as /boot/vmlinuz-*) or an ELF kernel with a PVH note with --kernel.",
  });
}
