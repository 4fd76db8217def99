import { describe, expect, test } from "vitest";
import { lowRamEnd, memoryMap, ramSpans } from "../../src/firmware/memory-map.js";

const GIB = 2 ** 30;
const SIZES = [1 << 20, 16 << 20, 512 << 20, 0xb000_0000 - 4096, 0xb000_0000, 0xb000_0000 + 4096, 64 * GIB];

describe("memory map", () => {
  test.each(SIZES)("of %d bytes is ascending and without overlaps", (size) => {
    for (const map of [ramSpans(size), memoryMap(size)]) {
      let end = 0;
      for (const entry of map) {
        expect(entry.address).toBeGreaterThanOrEqual(end);
        expect(entry.length).toBeGreaterThan(0);
        end = entry.address + entry.length;
      }
    }
  });

  test.each(SIZES)("of %d bytes tells only RAM to be usable", (size) => {
    const spans = ramSpans(size);
    for (const entry of memoryMap(size).filter((e) => e.kind === "usable")) {
      const backed = spans.some(
        (s) => entry.address >= s.address && entry.address + entry.length <= s.address + s.length,
      );
      expect(backed).toBe(true);
    }
  });

  test.each(SIZES)("of %d bytes uses every byte of RAM but the video hole", (size) => {
    const total = ramSpans(size).reduce((sum, span) => sum + span.length, 0);
    expect(total).toBe(size - 0x2_0000);
    for (const span of ramSpans(size)) expect(span.ramOffset + span.length).toBeLessThanOrEqual(size);
  });

  test("RAM beyond the PCI hole goes on at 4 GiB", () => {
    expect(lowRamEnd(4 * GIB)).toBe(0xb000_0000);
    expect(ramSpans(4 * GIB).at(-1)).toEqual({
      address: 4 * GIB,
      length: 4 * GIB - 0xb000_0000,
      ramOffset: 0xb000_0000,
    });
  });

  test("ECAM, IOAPIC and Local APIC are reserved", () => {
    const reserved = memoryMap(512 << 20).filter((entry) => entry.kind === "reserved");
    for (const address of [0xa_0000, 0xf_ffff, 0xb000_0000, 0xbfff_ffff, 0xfec0_0000, 0xfee0_0000]) {
      expect(reserved.some((e) => address >= e.address && address < e.address + e.length)).toBe(true);
    }
  });
});
