/**
 * Loops that keep the processor busy with one kind of code each, in 64-bit mode; they end through isa-debug-exit. The
 * measuring script times them, a test runs each of them briefly.
 */
import { debugExit, dword, selectPort } from "./code.js";
import { enterUserMode, longModeKernel, SCRATCH } from "./long-mode.js";

/** Scratch register of COM1: a register of a device that does nothing but be read and written. */
const SCRATCH_REGISTER = 0x3ff;
const COPY_BYTES = 4096;

export interface Workload {
  readonly name: string;
  /** Instructions of one turn of the loop: about, where the processor's own iterations count. */
  readonly instructionsPerTurn: number;
  /** The kernel that takes this many turns, 1 to 2^31 - 1. */
  kernel(turns: number): Uint8Array;
}

/** Turns of `body`, which may use every register but r15: mov r15d, turns; body; dec r15; jnz body */
function loop(turns: number, body: readonly number[]): number[] {
  const back = -(body.length + 3 + 6);
  return [0x41, 0xbf, ...dword(turns), ...body, 0x49, 0xff, 0xcf, 0x0f, 0x85, ...dword(back)];
}

/** A workload of `instructions` in `body`, not counting the loop's own two. */
function workload(
  name: string,
  instructions: number,
  body: readonly number[],
  before: readonly number[] = [],
): Workload {
  return {
    name,
    instructionsPerTurn: instructions + 2,
    kernel: (turns) => longModeKernel([...before, ...loop(turns, body), ...debugExit(0)]),
  };
}

const INTEGER = [
  ...[0x48, 0x01, 0xd8], //             add rax, rbx
  ...[0x48, 0x31, 0xc3], //             xor rbx, rax
  ...[0x48, 0x8d, 0x54, 0x03, 0x05], // lea rdx, [rbx + rax + 5]
  ...[0x48, 0x29, 0xd6], //             sub rsi, rdx
  ...[0x48, 0x21, 0xf7], //             and rdi, rsi
  ...[0x48, 0xc1, 0xe2, 0x05], //       shl rdx, 5
  ...[0x48, 0x09, 0xd0], //             or rax, rdx
  ...[0x48, 0x0f, 0xaf, 0xc3], //       imul rax, rbx
  ...[0x48, 0x39, 0xd0], //             cmp rax, rdx
  ...[0x48, 0x0f, 0x42, 0xca], //       cmovb rcx, rdx
];

/** Walks over 1 MiB in steps of a cache line. */
const MEMORY = [
  ...[0x48, 0x8b, 0x06], //             mov rax, [rsi]
  ...[0x48, 0x8b, 0x5e, 0x28], //       mov rbx, [rsi + 28h]
  ...[0x48, 0x01, 0xd8], //             add rax, rbx
  ...[0x48, 0x89, 0x46, 0x08], //       mov [rsi + 8], rax
  ...[0x8b, 0x56, 0x10], //             mov edx, [rsi + 10h]
  ...[0x0f, 0xb6, 0x7e, 0x20], //       movzx edi, byte [rsi + 20h]
  ...[0x01, 0x56, 0x30], //             add [rsi + 30h], edx
  ...[0x48, 0x83, 0xc6, 0x40], //       add rsi, 40h
  ...[0x81, 0xe6, ...dword(SCRATCH | 0xf_ffff)], // and esi, 4fffffh
];

const BRANCHES = [
  ...[0xe8, ...dword(2)], //            call f
  ...[0xeb, 0x09], //                   jmp behind f
  ...[0x41, 0xf6, 0xc7, 0x01], //    f: test r15b, 1
  ...[0x74, 0x02], //                   jz to the ret
  ...[0xff, 0xc0], //                   inc eax
  ...[0xc3], //                         ret
];

const SSE = [
  ...[0xf2, 0x49, 0x0f, 0x2a, 0xc7], // cvtsi2sd xmm0, r15
  ...[0xf2, 0x0f, 0x58, 0xc8], //       addsd xmm1, xmm0
  ...[0xf2, 0x0f, 0x59, 0xc0], //       mulsd xmm0, xmm0
  ...[0xf2, 0x0f, 0x5c, 0xd0], //       subsd xmm2, xmm0
  ...[0x66, 0x0f, 0x14, 0xc1], //       unpcklpd xmm0, xmm1
  ...[0x66, 0x0f, 0x58, 0xd8], //       addpd xmm3, xmm0
  ...[0x66, 0x0f, 0x5e, 0xd8], //       divpd xmm3, xmm0
  ...[0x0f, 0x28, 0xe3], //             movaps xmm4, xmm3
];

const X87 = [
  ...[0xd9, 0xe8], //                   fld1
  ...[0xde, 0xc1], //                   faddp st1
  ...[0xd9, 0xc0], //                   fld st0
  ...[0xd8, 0xc8], //                   fmul st0
  ...[0xd8, 0xf1], //                   fdiv st1
  ...[0xdd, 0xd8], //                   fstp st0
];

const STRING_COPY = [
  ...[0xb9, ...dword(COPY_BYTES / 8)], //        mov ecx, count
  ...[0xbe, ...dword(SCRATCH)], //               mov esi, source
  ...[0xbf, ...dword(SCRATCH + COPY_BYTES)], //  mov edi, target
  ...[0xf3, 0x48, 0xa5], //                      rep movsq
];

export const WORKLOADS: readonly Workload[] = [
  workload("integer arithmetic", 10, INTEGER),
  workload("loads and stores", 9, MEMORY, [0xbe, ...dword(SCRATCH)]), // mov esi, scratch
  workload("branches and calls", 5.5, BRANCHES),
  workload("SSE arithmetic", 8, SSE),
  workload("x87 arithmetic", 6, X87, [0xdb, 0xe3, 0xd9, 0xee]), // fninit; fldz
  workload("string copy", 3 + COPY_BYTES / 8, STRING_COPY),
  {
    name: "system calls",
    instructionsPerTurn: 4,
    kernel: (turns) => longModeKernel(enterUserMode([...loop(turns, [0x0f, 0x05]), ...debugExit(0)])),
  },
  // ud2, which never retires, and the two instructions of its handler
  workload("exceptions", 2, [0x0f, 0x0b]),
];

/** Three loops whose differences are the cost of a port access: none, in, out, all to a device's scratch register. */
export const PORT_LOOPS = {
  none: workload("no port", 0, [], selectPort(SCRATCH_REGISTER)),
  in: workload("in", 1, [0xec], selectPort(SCRATCH_REGISTER)),
  out: workload("out", 1, [0xee], selectPort(SCRATCH_REGISTER)),
} as const;
