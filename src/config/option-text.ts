/**
 * The comma-separated option values of the command line and of `VmOptions`: "MODEL,vendor=V,+feature", "FILE,ro",
 * "file:PATH", "NAME,key=value". Checks only their shape; `schema.ts` checks what they mean.
 */
import { resolve } from "node:path";
import { VmError } from "../errors.js";
import type { VmConfigInput } from "./schema.js";

type CpuInput = NonNullable<VmConfigInput["cpu"]>;
type DiskInput = NonNullable<VmConfigInput["disks"]>[number];
type SerialInput = NonNullable<VmConfigInput["serial"]>;
type DeviceInput = NonNullable<VmConfigInput["devices"]>[number];

/**
 * `MODEL[,vendor=V][,+feature][,-feature]`; an empty MODEL means the default one.
 * @throws VmError VM_USAGE.
 */
export function parseCpuOption(text: string): CpuInput {
  const [model = "", ...rest] = text.split(",");
  const cpu: CpuInput = model === "" ? {} : { model };
  const features: { name: string; enabled: boolean }[] = [];
  for (const part of rest) {
    const [, sign, name] = /^([+-])([a-z0-9_.]+)$/.exec(part) ?? [];
    if (part.startsWith("vendor=")) cpu.vendor = part.slice("vendor=".length);
    else if (name !== undefined) features.push({ name, enabled: sign === "+" });
    else {
      throw new VmError(
        "VM_USAGE",
        `"${part}" in the CPU option "${text}" is neither vendor=V, +feature nor -feature`,
        {
          hint: "for example: --cpu x86-64-v2@1,vendor=AuthenticAMD,-aes",
        },
      );
    }
  }
  return features.length === 0 ? cpu : { ...cpu, features };
}

/**
 * `FILE[,ro]`: a raw disk; the file's path is made absolute. Commas in file names cannot be written here.
 * @throws VmError VM_USAGE.
 */
export function parseDiskOption(text: string): DiskInput {
  const [path = "", ...flags] = text.split(",");
  const unknown = flags.find((flag) => flag !== "ro");
  if (path === "" || unknown !== undefined) {
    throw new VmError(
      "VM_USAGE",
      `"${text}" is not a disk: ${path === "" ? "the file is missing" : `unknown flag "${unknown}"`}`,
      {
        hint: "write --disk FILE or --disk FILE,ro",
      },
    );
  }
  return { path: resolve(path), readOnly: flags.length > 0 };
}

/**
 * `stdio`, `none` or `file:PATH`.
 * @throws VmError VM_USAGE.
 */
export function parseSerialOption(text: string): SerialInput {
  if (text === "stdio" || text === "none") return { kind: text };
  if (text.startsWith("file:") && text.length > "file:".length) {
    return { kind: "file", path: resolve(text.slice("file:".length)) };
  }
  throw new VmError("VM_USAGE", `"${text}" is not a serial port`, { hint: "write stdio, none or file:PATH" });
}

/**
 * `NAME[,key=value]...`.
 * @throws VmError VM_USAGE.
 */
export function parseDeviceOption(text: string): DeviceInput {
  const [name = "", ...pairs] = text.split(",");
  const options: Record<string, string> = {};
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals <= 0) {
      throw new VmError("VM_USAGE", `"${pair}" in the device option "${text}" is not key=value`, {
        hint: "for example: --device isa-debug-exit,iobase=0xf4",
      });
    }
    options[pair.slice(0, equals)] = pair.slice(equals + 1);
  }
  return { name, options };
}
