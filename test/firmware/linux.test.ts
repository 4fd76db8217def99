import { describe, expect, test } from "vitest";
import { VmError } from "../../src/errors.js";
import { isBzImage, loadLinux, parseSetupHeader } from "../../src/firmware/linux.js";
import { memoryMap } from "../../src/firmware/memory-map.js";
import {
  BZIMAGE_KERNEL_BYTES,
  BZIMAGE_SETUP_BYTES,
  bzImage,
  MIB,
  mutate,
  RecordingMemory,
  randomNumbers,
} from "./boot-files.js";

const MEMORY = 64 * MIB;
const RSDP = 0xe_0000;

function boot(kernel: Uint8Array, more: { initrd?: Uint8Array; commandLine?: string; memoryBytes?: number } = {}) {
  const memoryBytes = more.memoryBytes ?? MEMORY;
  const memory = new RecordingMemory(memoryBytes);
  const registers = loadLinux(memory, {
    kernel,
    initrd: more.initrd,
    commandLine: more.commandLine ?? "console=ttyS0",
    memoryBytes,
    rsdpAddress: RSDP,
  });
  return { memory, registers };
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(VmError);
    expect((error as VmError).hint).toMatch(/\.$/);
    return (error as VmError).code;
  }
  return "no error";
}

describe("64-bit boot protocol", () => {
  const initrd = new Uint8Array(5000).fill(7);
  const { memory, registers } = boot(bzImage(), { initrd });
  const params = memory.view(0x7000, 4096);

  test("enters at the load address plus 0x200 with rsi at boot_params", () => {
    expect(registers.rip).toBe(0x100_0200n);
    expect(registers.gpr[6]).toBe(0x7000n);
    expect(registers.rflags).toBe(2n);
    expect(registers.segments.map((s) => s.selector)).toEqual([0x18, 0x10, 0x18, 0x18, 0x18, 0x18, 0, 0x20]);
    expect(registers.segments[1]?.attributes).toBe(0xa09b);
    expect(registers.segments[3]?.attributes).toBe(0xc093);
    expect(registers.cr0 & 0x8000_0001n).toBe(0x8000_0001n);
    expect(registers.efer).toBe(0x500n);
    expect(registers.cr4).toBe(0x20n);
  });

  test("the GDT in memory agrees with the segment registers", () => {
    const gdt = memory.view(Number(registers.gdtr.base), registers.gdtr.limit + 1);
    expect(gdt.getBigUint64(0x10, true)).toBe(0x00af_9b00_0000_ffffn);
    expect(gdt.getBigUint64(0x18, true)).toBe(0x00cf_9300_0000_ffffn);
    expect(gdt.getBigUint64(0x20, true)).toBe(0x0000_8b00_0000_0067n);
  });

  test("page tables map the low 4 GiB onto themselves", () => {
    const walk = (address: number): number => {
      const entry = (table: number, index: number): number => {
        const value = memory.view(table + index * 8, 8).getBigUint64(0, true);
        expect(value & 3n).toBe(3n);
        return Number(value & 0x000f_ffff_ffff_f000n);
      };
      const directories = entry(Number(registers.cr3), 0);
      const directory = entry(directories, Math.floor(address / 2 ** 30));
      const at = directory + (Math.floor(address / 2 ** 21) % 512) * 8;
      expect(memory.view(at, 8).getBigUint64(0, true) & 0x80n).toBe(0x80n);
      return entry(directory, Math.floor(address / 2 ** 21) % 512);
    };
    for (const address of [0, 0x20_0000, 0x4000_0000, 0xb000_0000, 0xffe0_0000]) expect(walk(address)).toBe(address);
  });

  test("the kernel lies at its preferred address, the initrd below the end of RAM", () => {
    const kernel = memory.read(0x100_0000, BZIMAGE_KERNEL_BYTES);
    expect(kernel).toEqual(bzImage().slice(BZIMAGE_SETUP_BYTES));
    const address = params.getUint32(0x218, true);
    expect(address % 4096).toBe(0);
    expect(address).toBeGreaterThan(MEMORY - 3 * 4096);
    expect(params.getUint32(0x21c, true)).toBe(initrd.length);
    expect(memory.read(address, initrd.length)).toEqual(initrd);
    expect(params.getUint32(0x0c0, true)).toBe(0);
  });

  test("boot_params has the header, the command line, the RSDP and the memory map", () => {
    expect(params.getUint32(0x202, true)).toBe(0x5372_6448);
    expect(params.getUint8(0x210)).toBe(0xff);
    expect(params.getUint8(0x1ef)).toBe(0);
    expect(params.getBigUint64(0x70, true)).toBe(BigInt(RSDP));
    const line = memory.read(params.getUint32(0x228, true), 14);
    expect(new TextDecoder().decode(line)).toBe("console=ttyS0\0");
    const map = memoryMap(MEMORY);
    expect(params.getUint8(0x1e8)).toBe(map.length);
    map.forEach((entry, index) => {
      const at = 0x2d0 + index * 20;
      expect(params.getBigUint64(at, true)).toBe(BigInt(entry.address));
      expect(params.getBigUint64(at + 8, true)).toBe(BigInt(entry.length));
      expect(params.getUint32(at + 16, true)).toBe(entry.kind === "usable" ? 1 : 2);
    });
  });
});

describe("32-bit boot protocol", () => {
  test("serves kernels without a 64-bit entry, without paging", () => {
    const { registers } = boot(bzImage({ xloadflags: 0 }));
    expect(registers.rip).toBe(0x100_0000n);
    expect(registers.cr0 & 0x8000_0001n).toBe(1n);
    expect(registers.efer).toBe(0n);
    expect(registers.segments[1]?.attributes).toBe(0xc09b);
  });

  test("xloadflags do not exist before 2.12", () => {
    expect(parseSetupHeader(bzImage({ version: 0x20b })).has64BitEntry).toBe(false);
  });
});

describe("placement", () => {
  test("an initrd stays below initrd_addr_max", () => {
    const { memory } = boot(bzImage({ initrdAddressMax: 0x1ff_ffff }), { initrd: new Uint8Array(4096) });
    expect(memory.view(0x7000, 4096).getUint32(0x218, true)).toBe(0x1ff_f000);
  });

  test("too little memory for the kernel or for its initrd says how much is needed", () => {
    expect(codeOf(() => boot(bzImage({ initSize: 100 * MIB })))).toBe("VM_MEMORY_TOO_SMALL");
    expect(codeOf(() => boot(bzImage(), { initrd: new Uint8Array(60 * MIB) }))).toBe("VM_MEMORY_TOO_SMALL");
    expect(() => boot(bzImage({ initSize: 100 * MIB }))).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("116MiB") }),
    );
    boot(bzImage({ initSize: 100 * MIB }), { memoryBytes: 116 * MIB });
  });

  test("an initrd that no memory size would help is the initrd's fault", () => {
    const kernel = bzImage({ initrdAddressMax: 0x12f_ffff });
    expect(codeOf(() => boot(kernel, { initrd: new Uint8Array(2 * MIB) }))).toBe("VM_INITRD_INVALID");
    expect(codeOf(() => boot(kernel, { initrd: new Uint8Array(0) }))).toBe("VM_INITRD_INVALID");
  });
});

describe("bad input", () => {
  test.each([
    ["old protocol", bzImage({ version: 0x209 })],
    ["zImage", bzImage({ loadflags: 0 })],
    ["alignment no power of two", bzImage({ alignment: 3 })],
    ["no alignment", bzImage({ alignment: 0 })],
    ["beyond all memory", bzImage({ prefAddress: 0xffff_ffff_0000_0000n })],
    ["fixed below 1 MiB", bzImage({ relocatable: 0, prefAddress: 0x1000n })],
    ["empty", new Uint8Array(0)],
    ["signature only", bzImage().slice(0, 0x206)],
    ["kernel cut short", bzImage().slice(0, -1)],
    ["no kernel", bzImage().slice(0, BZIMAGE_SETUP_BYTES)],
  ])("%s is VM_KERNEL_INVALID", (_, kernel) => {
    expect(codeOf(() => boot(kernel))).toBe("VM_KERNEL_INVALID");
  });

  test("command lines: too long, or with a NUL", () => {
    boot(bzImage(), { commandLine: "x".repeat(2047) });
    expect(codeOf(() => boot(bzImage(), { commandLine: "x".repeat(2048) }))).toBe("VM_CONFIG_INVALID");
    expect(codeOf(() => boot(bzImage(), { commandLine: "a\0b" }))).toBe("VM_CONFIG_INVALID");
  });

  test("10,000 mutated kernels boot or are refused, and never reach outside RAM", () => {
    const random = randomNumbers(1);
    const initrd = new Uint8Array(100);
    let refused = 0;
    for (let round = 0; round < 10_000; round++) {
      const file = mutate(bzImage(), random, 0x270);
      const code = codeOf(() => boot(file, { initrd }));
      if (code !== "no error") refused++;
    }
    expect(refused).toBeGreaterThan(2_000);
    expect(refused).toBeLessThan(10_000);
  });

  test("the signature alone decides what is a bzImage", () => {
    expect(isBzImage(bzImage())).toBe(true);
    expect(isBzImage(new Uint8Array(4096))).toBe(false);
    expect(isBzImage(new Uint8Array(3))).toBe(false);
  });
});
