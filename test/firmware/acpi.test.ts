import { describe, expect, test } from "vitest";
import { acpiTables, writeAcpiTables } from "../../src/firmware/acpi.js";
import * as aml from "../../src/firmware/aml.js";
import { MIB, RecordingMemory } from "./boot-files.js";

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
const ascii = (bytes: Uint8Array): string => new TextDecoder("latin1").decode(bytes);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Follows the pointers as a system does, from the RSDP on. */
function discover(cpus: number): Map<string, Uint8Array> {
  const memory = new RecordingMemory(16 * MIB);
  const rsdpAddress = writeAcpiTables(memory, cpus);
  expect(rsdpAddress % 16).toBe(0);
  const rsdp = memory.read(rsdpAddress, 36);
  expect(ascii(rsdp.subarray(0, 8))).toBe("RSD PTR ");
  expect(sum(rsdp.subarray(0, 20))).toBe(0);
  expect(sum(rsdp)).toBe(0);
  const found = new Map<string, Uint8Array>();
  const read = (address: number): Uint8Array => {
    const table = memory.read(address, memory.view(address + 4, 4).getUint32(0, true));
    expect(address + table.length).toBeLessThanOrEqual(0x10_0000);
    found.set(ascii(table.subarray(0, 4)), table);
    return table;
  };
  const xsdt = read(Number(view(rsdp).getBigUint64(24, true)));
  for (let at = 36; at < xsdt.length; at += 8) read(Number(view(xsdt).getBigUint64(at, true)));
  const fadt = view(found.get("FACP") ?? new Uint8Array(276));
  read(Number(fadt.getBigUint64(140, true)));
  const facsAddress = fadt.getUint32(36, true);
  expect(facsAddress % 64).toBe(0);
  read(facsAddress);
  return found;
}

describe("ACPI tables", () => {
  const tables = discover(2);
  const get = (signature: string): DataView => view(tables.get(signature) ?? new Uint8Array(0));

  test("are all found from the RSDP, with right checksums", () => {
    expect([...tables.keys()].sort()).toEqual(["APIC", "DSDT", "FACP", "FACS", "MCFG", "XSDT"]);
    for (const [signature, table] of tables)
      if (signature !== "FACS") expect([signature, sum(table)]).toEqual([signature, 0]);
  });

  test("do not overlap, for one processor or many", () => {
    for (const cpus of [1, 8, 255]) {
      let end = 0xe_0000;
      for (const { address, bytes } of acpiTables(cpus)) {
        expect(address).toBeGreaterThanOrEqual(end);
        end = address + bytes.length;
      }
    }
  });

  test("FADT names the power management ports, SCI 9 and the reset register", () => {
    const fadt = get("FACP");
    expect(fadt.byteLength).toBe(276);
    expect(fadt.getUint16(46, true)).toBe(9);
    expect(fadt.getUint32(48, true)).toBe(0);
    expect([56, 64, 76, 80].map((at) => fadt.getUint32(at, true))).toEqual([0x600, 0x604, 0x608, 0x620]);
    expect([88, 89, 91, 92].map((at) => fadt.getUint8(at))).toEqual([4, 2, 4, 8]);
    expect([148, 172, 208, 220, 116].map((at) => fadt.getBigUint64(at + 4, true))).toEqual([
      0x600n,
      0x604n,
      0x608n,
      0x620n,
      0xcf9n,
    ]);
    expect(fadt.getUint8(128)).toBe(6);
    const flags = fadt.getUint32(112, true);
    expect(flags & (1 << 4)).toBe(0);
    expect(flags & (1 << 10)).not.toBe(0);
    expect(flags & (1 << 20)).toBe(0);
    expect(fadt.getUint16(109, true) & 2).toBe(2);
  });

  test("MADT lists processors, the IOAPIC, the overrides of IRQ 0 and 9, and NMI", () => {
    const madt = tables.get("APIC") ?? new Uint8Array(0);
    const entries: string[] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1] ?? 1)
      entries.push(hex(madt.subarray(at, at + (madt[at + 1] ?? 0))));
    expect(entries).toEqual([
      "0008000001000000",
      "0008010101000000",
      "010c00000000c0fe00000000",
      "020a0000020000000000",
      "020a0009090000000d00",
      "0406ff000001",
    ]);
  });

  test("MCFG tells of all 256 buses", () => {
    const mcfg = get("MCFG");
    expect(mcfg.getBigUint64(44, true)).toBe(0xb000_0000n);
    expect([mcfg.getUint8(54), mcfg.getUint8(55)]).toEqual([0, 255]);
  });

  test("DSDT routes every pin to GSI 16 + (device + pin) mod 8, and tells SLP_TYP 5 for S5", () => {
    const dsdt = hex(tables.get("DSDT") ?? new Uint8Array(0));
    expect(dsdt).toContain(
      hex(aml.name("\\_S5", aml.pack(aml.integer(5), aml.integer(5), aml.integer(0), aml.integer(0)))),
    );
    for (let slot = 0; slot < 32; slot++) {
      for (let pin = 0; pin < 4; pin++) {
        const route = [slot * 0x1_0000 + 0xffff, pin, 0, 16 + ((slot + pin) % 8)].map(aml.integer);
        expect(dsdt).toContain(hex(aml.pack(...route)));
      }
    }
  });
});

describe("AML encoding", () => {
  test("integers take their shortest form", () => {
    expect([0, 1, 2, 0x100, 0x1_0000, 0x1_0000_0000].map((value) => hex(aml.integer(value)))).toEqual([
      "00",
      "01",
      "0a02",
      "0b0001",
      "0c00000100",
      "0e0000000001000000",
    ]);
  });

  test("names are padded and prefixed by how many segments they have", () => {
    expect(ascii(aml.path("_SB"))).toBe("_SB_");
    expect(ascii(aml.path("\\_SB.PCI0"))).toBe("\\._SB_PCI0");
    expect(ascii(aml.path("\\_SB.PCI0.ISA"))).toBe("\\/\x03_SB_PCI0ISA_");
  });

  test("EISA identifiers and UUIDs", () => {
    expect(hex(aml.eisaId("PNP0A03"))).toBe("0c41d00a03");
    expect(hex(aml.uuid("33DB4D5B-1FF7-401C-9657-7441C03DD766"))).toBe(
      "1113" + "0a10" + "5b4ddb33f71f1c4096577441c03dd766",
    );
  });

  test("package lengths count themselves at every size", () => {
    const length = (bytes: number): { told: number; real: number } => {
      const encoded = aml.buffer(new Uint8Array(bytes));
      const lead = encoded[1] ?? 0;
      let told = lead < 0x40 ? lead : lead & 0xf;
      for (let extra = 0; extra < lead >> 6; extra++) told += (encoded[2 + extra] ?? 0) * 2 ** (4 + 8 * extra);
      return { told, real: encoded.length - 1 };
    };
    for (const bytes of [0, 1, 59, 60, 61, 62, 63, 64, 300, 4085, 4090, 4095, 4096, 70_000, 1_048_570, 1_048_580]) {
      const { told, real } = length(bytes);
      expect(told).toBe(real);
    }
  });
});
