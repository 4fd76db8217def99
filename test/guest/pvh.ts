/**
 * Makes bootable kernels out of a few bytes of machine code: an ELF file with one segment of code, further ones of data,
 * and the PVH note that names the entry point (System V gABI, chapters 4 and 5; Xen, docs/misc/pvh.pandoc). The code is
 * entered in flat 32-bit protected mode without paging, interrupts off, and without a usable IDT.
 */

/** Guest-physical address of the code's first byte, which is also where it is entered. */
export const CODE_ADDRESS = 0x10_0000;

/** Data that the guest finds in memory. Guest-physical address; segments do not overlap. */
export interface GuestData {
  readonly address: number;
  readonly bytes: Uint8Array;
}

const HEADER_BYTES = 52;
const PROGRAM_HEADER_BYTES = 32;
const NOTE_BYTES = 20;
const ET_EXEC = 2;
const EM_386 = 3;
const PT_LOAD = 1;
const PT_NOTE = 4;
const READ_WRITE_EXECUTE = 7;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** An ELF kernel that runs `code`. */
export function pvhKernel(code: readonly number[], data: readonly GuestData[] = []): Uint8Array {
  const segments = [{ address: CODE_ADDRESS, bytes: Uint8Array.from(code) }, ...data];
  const noteAt = HEADER_BYTES + (segments.length + 1) * PROGRAM_HEADER_BYTES;
  const contentsAt = noteAt + NOTE_BYTES;
  const file = new Uint8Array(contentsAt + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  writeHeader(view, segments.length + 1);
  writeNote(view, noteAt);

  const headerAt = (index: number) => HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
  writeProgramHeader(view, headerAt(0), PT_NOTE, noteAt, 0, NOTE_BYTES);
  let at = contentsAt;
  for (const [index, { address, bytes }] of segments.entries()) {
    writeProgramHeader(view, headerAt(index + 1), PT_LOAD, at, address, bytes.length);
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

function writeHeader(view: DataView, programHeaders: number): void {
  new Uint8Array(view.buffer).set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, EM_386, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, CODE_ADDRESS, true);
  view.setUint32(28, HEADER_BYTES, true);
  view.setUint16(40, HEADER_BYTES, true);
  view.setUint16(42, PROGRAM_HEADER_BYTES, true);
  view.setUint16(44, programHeaders, true);
}

function writeNote(view: DataView, at: number): void {
  view.setUint32(at, 4, true);
  view.setUint32(at + 4, 4, true);
  view.setUint32(at + 8, XEN_ELFNOTE_PHYS32_ENTRY, true);
  new Uint8Array(view.buffer).set(new TextEncoder().encode("Xen\0"), at + 12);
  view.setUint32(at + 16, CODE_ADDRESS, true);
}

function writeProgramHeader(
  view: DataView,
  at: number,
  type: number,
  offset: number,
  address: number,
  bytes: number,
): void {
  view.setUint32(at, type, true);
  view.setUint32(at + 4, offset, true);
  view.setUint32(at + 8, address, true);
  view.setUint32(at + 12, address, true);
  view.setUint32(at + 16, bytes, true);
  view.setUint32(at + 20, bytes, true);
  view.setUint32(at + 24, READ_WRITE_EXECUTE, true);
  view.setUint32(at + 28, 4, true);
}
