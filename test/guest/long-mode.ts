/**
 * Guests in 64-bit mode: a stub that takes the processor from PVH's entry to long mode with paging, and the tables it
 * needs, written into the kernel file: identity-mapped 2 MiB pages over the first GiB, user-accessible, a GDT as SYSCALL
 * and SYSRET want it, and an IDT whose #UD steps over a two-byte instruction (SDM 3A, 5.2.1, 9.8.5).
 */
import { dword, word } from "./code.js";
import { CODE_ADDRESS, type GuestData, pvhKernel } from "./pvh.js";

/** Memory a 64-bit guest needs, in bytes. */
export const LONG_MODE_MEMORY = 32 << 20;
/** Guest-physical address of memory that programs may use as they like, up to `LONG_MODE_MEMORY`. */
export const SCRATCH = 0x40_0000;

const TABLES = 0x20_0000;
const PAGE = 0x1000;
const PML4 = TABLES;
const PDPT = TABLES + PAGE;
const DIRECTORY = TABLES + 2 * PAGE;
const GDT = TABLES + 3 * PAGE;
const IDT = TABLES + 4 * PAGE;
const DESCRIPTORS = TABLES + 5 * PAGE;
const UNDEFINED_HANDLER = TABLES + 6 * PAGE;
const STACK_TOP = SCRATCH;

const PRESENT_WRITABLE_USER = 7n;
const LARGE = 0x80n;
const KERNEL_CODE = 0x08;
const KERNEL_DATA = 0x10;
/** SYSRET takes its code segment 16 bytes and its stack segment 8 bytes behind this one. */
const SYSRET_BASE = 0x18;
const GDT_ENTRIES = [
  0n,
  0x00af_9b00_0000_ffffn, // kernel code, 64-bit
  0x00cf_9300_0000_ffffn, // kernel data
  0n,
  0x00cf_f300_0000_ffffn, // user data
  0x00af_fb00_0000_ffffn, // user code, 64-bit
];
const IDT_ENTRIES = 32;
const UNDEFINED_VECTOR = 6;
const CR0 = 0x8001_0033;
/** PAE, OSFXSR, OSXMMEXCPT. */
const CR4 = 0x620;
const EFER = 0xc000_0080;
/** Long mode, SYSCALL. */
const EFER_BITS = 0x101;
const STAR = 0xc000_0081;
const LSTAR = 0xc000_0082;
const FMASK = 0xc000_0084;

/** A kernel that runs `body` in 64-bit mode, privilege level 0, interrupts off, with a stack. */
export function longModeKernel(body: readonly number[]): Uint8Array {
  const enter = [
    ...[0xb8, ...dword(CR4), 0x0f, 0x22, 0xe0], //       mov eax, imm; mov cr4, eax
    ...[0xb8, ...dword(PML4), 0x0f, 0x22, 0xd8], //      mov eax, imm; mov cr3, eax
    ...[0xb9, ...dword(EFER), 0x0f, 0x32], //            mov ecx, imm; rdmsr
    ...[0x0d, ...dword(EFER_BITS), 0x0f, 0x30], //       or eax, imm; wrmsr
    ...[0xb8, ...dword(CR0), 0x0f, 0x22, 0xc0], //       mov eax, imm; mov cr0, eax
    ...[0x0f, 0x01, 0x15, ...dword(DESCRIPTORS)], //     lgdt [imm]
  ];
  const start = CODE_ADDRESS + enter.length + 7;
  const far = [0xea, ...dword(start), ...word(KERNEL_CODE)]; // jmp 8:start
  const settle = [
    ...[0x66, 0xb8, ...word(KERNEL_DATA)], //            mov ax, imm
    ...[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], //          mov ds, eax; mov es, eax; mov ss, eax
    ...[0xbc, ...dword(STACK_TOP)], //                   mov esp, imm
    ...[0x0f, 0x01, 0x1c, 0x25, ...dword(DESCRIPTORS + 16)], // lidt [imm]
  ];
  return pvhKernel([...enter, ...far, ...settle, ...body], [tables()]);
}

/** wrmsr of a 64-bit value given as two halves */
function writeMsr(msr: number, low: number, high: number): number[] {
  return [0xb9, ...dword(msr), 0xb8, ...dword(low), 0xba, ...dword(high), 0x0f, 0x30];
}

/**
 * Goes on with `user` at privilege level 3, which may use ports; its SYSCALLs return at once. Clobbers rax, rcx, rdx,
 * r11.
 */
export function enterUserMode(user: readonly number[]): number[] {
  const sysret = [0x48, 0x0f, 0x07];
  // lea rax, [rip + displacement]; mov rdx, rax; shr rdx, 32; mov ecx, LSTAR; wrmsr
  const toMsr = [0x48, 0x89, 0xc2, 0x48, 0xc1, 0xea, 0x20, 0xb9, ...dword(LSTAR), 0x0f, 0x30];
  const leave = [
    ...[0x48, 0x8d, 0x0d, ...dword(6 + 2 * sysret.length)], // lea rcx, [rip + user]
    ...[0x41, 0xbb, ...dword(0x3002)], //                      mov r11d, flags with IOPL 3
  ];
  const handlerIn = toMsr.length + leave.length + sysret.length;
  return [
    ...writeMsr(STAR, 0, (((SYSRET_BASE | 3) << 16) | KERNEL_CODE) >>> 0),
    ...writeMsr(FMASK, 0, 0),
    ...[0x48, 0x8d, 0x05, ...dword(handlerIn)], //             lea rax, [rip + handler]
    ...toMsr,
    ...leave,
    ...sysret,
    ...sysret, // the handler
    ...user,
  ];
}

function tables(): GuestData {
  const bytes = new Uint8Array(7 * PAGE);
  const view = new DataView(bytes.buffer);
  const put = (address: number, value: bigint) => view.setBigUint64(address - TABLES, value, true);
  put(PML4, BigInt(PDPT) | PRESENT_WRITABLE_USER);
  put(PDPT, BigInt(DIRECTORY) | PRESENT_WRITABLE_USER);
  for (let page = 0; page < 512; page++) {
    put(DIRECTORY + page * 8, (BigInt(page) << 21n) | LARGE | PRESENT_WRITABLE_USER);
  }
  GDT_ENTRIES.forEach((entry, index) => {
    put(GDT + index * 8, entry);
  });
  const gate = IDT + UNDEFINED_VECTOR * 16;
  put(gate, interruptGate(UNDEFINED_HANDLER));
  put(gate + 8, 0n);
  view.setUint16(DESCRIPTORS - TABLES, GDT_ENTRIES.length * 8 - 1, true);
  view.setUint32(DESCRIPTORS - TABLES + 2, GDT, true);
  view.setUint16(DESCRIPTORS - TABLES + 16, IDT_ENTRIES * 16 - 1, true);
  view.setUint32(DESCRIPTORS - TABLES + 18, IDT, true);
  // add qword [rsp], 2; iretq
  bytes.set([0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xcf], UNDEFINED_HANDLER - TABLES);
  return { address: TABLES, bytes };
}

/** The low half of a present 64-bit interrupt gate; handlers lie below 4 GiB. */
function interruptGate(handler: number): bigint {
  const [low, high] = [BigInt(handler & 0xffff), BigInt(handler >>> 16)];
  return low | (BigInt(KERNEL_CODE) << 16n) | (0x8e00n << 32n) | (high << 48n);
}
