/**
 * What all boot protocols share: where their small structures lie in low memory, the writer they write through,
 * the placement of an initrd, and the register state they enter a kernel with (SDM 3A, 3.4.5 for descriptors,
 * 4.5 for the page tables). Which values go where in a kernel's own structures is the protocols' business.
 */
import { invariant, VmError } from "../errors.js";
import type { Registers, SegmentRegister } from "../native/engine.js";
import { LAPIC_ADDRESS, lowRamEnd } from "./memory-map.js";

/** Where firmware writes what it prepares. Addresses are guest-physical; a write outside RAM is our own bug. */
export interface MemoryWriter {
  write(address: number, bytes: Uint8Array): void;
}

/** Guest-physical addresses of the boot structures; all below the extended BIOS data area and free of each other. */
export const BOOT_LAYOUT = {
  gdt: 0x1000,
  /** PVH start info, module list and memory map. */
  startInfo: 0x6000,
  /** Linux's boot_params, one page. */
  zeroPage: 0x7000,
  stackTop: 0x9000,
  /** Page map level 4, one page directory pointer table, four page directories. */
  pageTables: 0x9000,
  /** NUL-terminated; up to `commandLineBytes` with the NUL. */
  commandLine: 0x2_0000,
} as const;

/** Room kept for the command line, in bytes. */
export const COMMAND_LINE_ROOM = 0x1_0000;

const PAGE = 4096;
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const TASK_SELECTOR = 0x20;
/** Access rights: present, S, type; G and L or D/B as the mode wants. */
const CODE64_RIGHTS = 0xa09b;
const CODE32_RIGHTS = 0xc09b;
const DATA_RIGHTS = 0xc093;
const TASK_RIGHTS = 0x8b;
const UNUSABLE = 0x1_0000;
const TASK_LIMIT = 0x67;

const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
const CR0_NE = 0x20n;
const CR0_PG = 0x8000_0000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;
/** Local APIC enabled, bootstrap processor (SDM 3A, 11.4.4). */
const APIC_BASE = BigInt(LAPIC_ADDRESS) | 0x900n;

/** How a kernel is entered: flat 32-bit protected mode without paging, or 64-bit mode with memory identity-mapped. */
export type EntryMode = "protected32" | "long64";

/** General registers of an entry by name; the rest are zero. */
export interface EntryRegisters {
  readonly rip: number;
  readonly rbx?: number;
  readonly rsi?: number;
}

/** Writes the descriptor table (and, for 64-bit mode, page tables for the low 4 GiB) and returns the state to enter with. */
export function enterKernel(memory: MemoryWriter, mode: EntryMode, entry: EntryRegisters): Registers {
  const long = mode === "long64";
  const codeRights = long ? CODE64_RIGHTS : CODE32_RIGHTS;
  const gdt = new DataView(new ArrayBuffer(48));
  gdt.setBigUint64(CODE_SELECTOR, descriptor(0xffff_ffff, codeRights), true);
  gdt.setBigUint64(DATA_SELECTOR, descriptor(0xffff_ffff, DATA_RIGHTS), true);
  gdt.setBigUint64(TASK_SELECTOR, descriptor(TASK_LIMIT, TASK_RIGHTS), true);
  memory.write(BOOT_LAYOUT.gdt, new Uint8Array(gdt.buffer));
  if (long) memory.write(BOOT_LAYOUT.pageTables, identityTables(BOOT_LAYOUT.pageTables));

  const gpr = new Array<bigint>(16).fill(0n);
  gpr[3] = BigInt(entry.rbx ?? 0);
  gpr[4] = BigInt(BOOT_LAYOUT.stackTop);
  gpr[6] = BigInt(entry.rsi ?? 0);
  const data = segment(DATA_SELECTOR, 0xffff_ffff, DATA_RIGHTS);
  const code = segment(CODE_SELECTOR, 0xffff_ffff, codeRights);
  return {
    gpr,
    rip: BigInt(entry.rip),
    rflags: 2n,
    cr0: CR0_PE | CR0_ET | CR0_NE | (long ? CR0_PG : 0n),
    cr2: 0n,
    cr3: long ? BigInt(BOOT_LAYOUT.pageTables) : 0n,
    cr4: long ? CR4_PAE : 0n,
    cr8: 0n,
    efer: long ? EFER_LME_LMA : 0n,
    apicBase: APIC_BASE,
    segments: [
      data,
      code,
      data,
      data,
      data,
      data,
      segment(0, 0, UNUSABLE),
      segment(TASK_SELECTOR, TASK_LIMIT, TASK_RIGHTS),
    ],
    gdtr: { base: BigInt(BOOT_LAYOUT.gdt), limit: gdt.byteLength - 1 },
    idtr: { base: 0n, limit: 0 },
  };
}

/**
 * Writes the command line, NUL-terminated.
 * @throws VmError VM_CONFIG_INVALID when it holds a NUL or, in UTF-8, is longer than `maxBytes` without its NUL.
 */
export function writeCommandLine(memory: MemoryWriter, text: string, maxBytes: number): void {
  const bytes = new TextEncoder().encode(text);
  const limit = Math.min(maxBytes, COMMAND_LINE_ROOM - 1);
  if (bytes.length > limit) {
    throw new VmError(
      "VM_CONFIG_INVALID",
      `the kernel command line is ${bytes.length} bytes long, the kernel takes ${limit}`,
      {
        hint: "Shorten what --append gives.",
      },
    );
  }
  if (bytes.includes(0)) {
    throw new VmError("VM_CONFIG_INVALID", "the kernel command line holds a NUL character", {
      hint: "Remove it from what --append gives.",
    });
  }
  const line = new Uint8Array(bytes.length + 1);
  line.set(bytes);
  memory.write(BOOT_LAYOUT.commandLine, line);
}

export interface InitrdRoom {
  readonly memoryBytes: number;
  /** First address behind the kernel and all it needs while it starts. */
  readonly kernelEnd: number;
  /** Last address the initrd may occupy, inclusive. */
  readonly addressMax: number;
}

/**
 * Writes an initrd as high as it may lie and returns its address (a multiple of 4096).
 * @throws VmError VM_INITRD_INVALID for an empty one, or one the kernel cannot reach with any amount of memory;
 *   VM_MEMORY_TOO_SMALL when more memory would help.
 */
export function placeInitrd(memory: MemoryWriter, initrd: Uint8Array, room: InitrdRoom): number {
  if (initrd.length === 0) {
    throw new VmError("VM_INITRD_INVALID", "the initrd is empty", {
      hint: "Give a cpio archive (it may be compressed) with --initrd, or leave --initrd out.",
    });
  }
  const reach = room.addressMax + 1;
  const place = (limit: number): number => Math.floor((Math.min(limit, reach) - initrd.length) / PAGE) * PAGE;
  const address = place(lowRamEnd(room.memoryBytes));
  if (address < room.kernelEnd) {
    if (place(lowRamEnd(Number.MAX_SAFE_INTEGER)) < room.kernelEnd) {
      throw new VmError(
        "VM_INITRD_INVALID",
        `the initrd of ${mebibytes(initrd.length)} is larger than this kernel can reach`,
        {
          hint: "Make the initrd smaller; put what it holds on a disk.",
        },
      );
    }
    throw memoryTooSmall(room.kernelEnd + initrd.length + PAGE, room.memoryBytes, "the kernel and its initrd");
  }
  memory.write(address, initrd);
  return address;
}

/** The error for a machine without room for `what`, which needs memory up to `neededBytes`. */
export function memoryTooSmall(neededBytes: number, memoryBytes: number, what: string): VmError {
  const needed = `${Math.ceil(neededBytes / (1 << 20))}MiB`;
  return new VmError("VM_MEMORY_TOO_SMALL", `${mebibytes(memoryBytes)} of memory hold too little for ${what}`, {
    hint: `Give the machine at least ${needed}: --memory ${needed}.`,
  });
}

function mebibytes(bytes: number): string {
  return `${(bytes / (1 << 20)).toFixed(1).replace(/\.0$/, "")} MiB`;
}

function segment(selector: number, limit: number, attributes: number): SegmentRegister {
  return { selector, base: 0n, limit, attributes };
}

/** A descriptor with base 0, as the segment register with these access rights and byte limit was loaded from it. */
function descriptor(limit: number, rights: number): bigint {
  const units = BigInt(rights & 0x8000 ? Math.floor(limit / PAGE) : limit);
  return (
    (units & 0xffffn) | (BigInt(rights & 0xff) << 40n) | ((units >> 16n) << 48n) | (BigInt((rights >> 12) & 0xf) << 52n)
  );
}

/** Tables at `base` that map the low 4 GiB onto themselves in 2 MiB pages, writable. */
function identityTables(base: number): Uint8Array {
  const PRESENT_WRITABLE = 3n;
  const LARGE = 0x80n;
  const tables = new BigUint64Array(6 * 512);
  tables[0] = BigInt(base + PAGE) | PRESENT_WRITABLE;
  for (let directory = 0; directory < 4; directory++) {
    tables[512 + directory] = BigInt(base + (2 + directory) * PAGE) | PRESENT_WRITABLE;
  }
  for (let page = 0; page < 4 * 512; page++) {
    tables[1024 + page] = (BigInt(page) << 21n) | LARGE | PRESENT_WRITABLE;
  }
  const view = new DataView(new ArrayBuffer(tables.byteLength));
  tables.forEach((value, index) => {
    view.setBigUint64(index * 8, value, true);
  });
  invariant(base % PAGE === 0, "page tables are page-aligned");
  return new Uint8Array(view.buffer);
}
