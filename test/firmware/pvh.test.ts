import { describe, expect, test } from "vitest";
import { VmError } from "../../src/errors.js";
import { loadBoot } from "../../src/firmware/load.js";
import { memoryMap } from "../../src/firmware/memory-map.js";
import { isElf, loadPvh, parsePvhKernel } from "../../src/firmware/pvh.js";
import {
  bzImage,
  MIB,
  mutate,
  PVH_ADDRESS,
  PVH_ENTRY,
  pvhKernel,
  RecordingMemory,
  randomNumbers,
} from "./boot-files.js";

const MEMORY = 16 * MIB;

function boot(kernel: Uint8Array, initrd?: Uint8Array) {
  const memory = new RecordingMemory(MEMORY);
  const registers = loadPvh(memory, { kernel, initrd, commandLine: "a=b", memoryBytes: MEMORY, rsdpAddress: 0xe_0000 });
  return { memory, registers };
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(VmError);
    return (error as VmError).code;
  }
  return "no error";
}

function changed(bits: 32 | 64, change: (view: DataView, file: Uint8Array) => void): Uint8Array {
  const file = pvhKernel(bits);
  change(new DataView(file.buffer), file);
  return file;
}

describe.each([32, 64] as const)("PVH with ELF%d", (bits) => {
  test("enters flat protected mode at the note's address with ebx at the start info", () => {
    const { memory, registers } = boot(pvhKernel(bits));
    expect(registers.rip).toBe(BigInt(PVH_ENTRY));
    expect(registers.cr0 & 0x8000_0001n).toBe(1n);
    expect(registers.cr4).toBe(0n);
    expect(registers.segments[1]).toEqual({ selector: 0x10, base: 0n, limit: 0xffff_ffff, attributes: 0xc09b });
    const info = memory.view(Number(registers.gpr[3]), 56);
    expect(info.getUint32(0, true)).toBe(0x336e_c578);
    expect(info.getUint32(4, true)).toBe(1);
    expect(info.getUint32(12, true)).toBe(0);
    expect(info.getBigUint64(32, true)).toBe(0xe_0000n);
    expect(new TextDecoder().decode(memory.read(Number(info.getBigUint64(24, true)), 4))).toBe("a=b\0");
    const map = memoryMap(MEMORY);
    expect(info.getUint32(48, true)).toBe(map.length);
    const first = memory.view(Number(info.getBigUint64(40, true)), 24);
    expect(first.getBigUint64(8, true)).toBe(BigInt(map[0]?.length ?? -1));
    expect(first.getUint32(16, true)).toBe(1);
  });

  test("loads the segment and clears the memory behind it", () => {
    const { memory } = boot(pvhKernel(bits));
    expect(memory.read(PVH_ADDRESS, 64)).toEqual(new Uint8Array(64).fill(0x90));
    const cleared = memory.writes.filter((write) => write.address === PVH_ADDRESS + 64);
    expect(cleared.map((write) => write.bytes)).toEqual([new Uint8Array(0x1000 - 64)]);
  });

  test("tells of the initrd as a module", () => {
    const initrd = new Uint8Array(9999).fill(3);
    const { memory, registers } = boot(pvhKernel(bits), initrd);
    const info = memory.view(Number(registers.gpr[3]), 56);
    expect(info.getUint32(12, true)).toBe(1);
    const module = memory.view(Number(info.getBigUint64(16, true)), 32);
    expect(module.getBigUint64(8, true)).toBe(9999n);
    expect(memory.read(Number(module.getBigUint64(0, true)), 9999)).toEqual(initrd);
  });

  test("5,000 mutated kernels boot or are refused, and never reach outside RAM", () => {
    const random = randomNumbers(bits);
    const codes = new Set<string>();
    for (let round = 0; round < 5_000; round++) {
      codes.add(codeOf(() => boot(mutate(pvhKernel(bits), random, 0x200), new Uint8Array(10))));
    }
    expect(codes).toEqual(new Set(["no error", "VM_KERNEL_INVALID", "VM_MEMORY_TOO_SMALL"]));
  });
});

describe("bad ELF files", () => {
  const tableAt = 0x40;
  test.each([
    ["empty", new Uint8Array(0)],
    ["another machine", changed(64, (view) => view.setUint16(18, 183, true))],
    ["relocatable", changed(64, (view) => view.setUint16(16, 1, true))],
    ["big-endian", changed(64, (view) => view.setUint8(5, 2))],
    ["no program headers", changed(64, (view) => view.setUint16(56, 0, true))],
    ["65,535 program headers", changed(64, (view) => view.setUint16(56, 0xffff, true))],
    ["program headers outside", changed(64, (view) => view.setBigUint64(32, 1n << 60n, true))],
    ["segment outside the file", changed(64, (view) => view.setBigUint64(tableAt + 8, 0x1f0n, true))],
    ["segment larger in the file", changed(64, (view) => view.setBigUint64(tableAt + 40, 8n, true))],
    ["segment in the first MiB", changed(64, (view) => view.setBigUint64(tableAt + 24, 0x7000n, true))],
    ["segment beyond all memory", changed(64, (view) => view.setBigUint64(tableAt + 40, 1n << 50n, true))],
    ["no note", changed(64, (view) => view.setUint32(tableAt + 56, 7, true))],
  ])("%s is VM_KERNEL_INVALID", (_, file) => {
    expect(codeOf(() => boot(file))).toBe("VM_KERNEL_INVALID");
  });

  test("overlapping segments are refused", () => {
    const file = changed(32, (view) => {
      view.setUint32(tableAt + 32, 1, true);
      view.setUint32(tableAt + 32 + 12, PVH_ADDRESS + 0x800, true);
      view.setUint32(tableAt + 32 + 20, 0x1000, true);
    });
    expect(() => parsePvhKernel(file)).toThrow(VmError);
  });

  test("a kernel larger than the machine asks for memory", () => {
    const file = changed(64, (view) => view.setBigUint64(tableAt + 40, BigInt(32 * MIB), true));
    expect(codeOf(() => boot(file))).toBe("VM_MEMORY_TOO_SMALL");
  });
});

describe("choice of the protocol", () => {
  const load = (kernel: Uint8Array) =>
    loadBoot({ memory: new RecordingMemory(64 * MIB), kernel, commandLine: "", memoryBytes: 64 * MIB, cpus: 1 });

  test("goes by the file's signature", () => {
    expect(load(bzImage()).rip).toBe(0x100_0200n);
    expect(isElf(pvhKernel(64))).toBe(true);
    expect(load(pvhKernel(64)).rip).toBe(BigInt(PVH_ENTRY));
    expect(codeOf(() => load(new TextEncoder().encode("#!/bin/sh")))).toBe("VM_KERNEL_INVALID");
  });
});
