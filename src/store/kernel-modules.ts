/**
 * Picks kernel modules out of an unpacked kernel package, with all they depend on, and writes the indexes modprobe
 * reads (modules.dep, modules.alias). What a module is called, needs and serves stands in its own ".modinfo" section,
 * so no depmod is needed. ELF64 little-endian modules (System V gABI, chapter 4).
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { VmError } from "../errors.js";
import { type AptOptions, readPossiblyCompressed } from "./apt.js";

/** What a module says of itself. Names have underscores where file names may have dashes. */
export interface ModuleInfo {
  readonly name: string;
  /** Modules it cannot be loaded without. */
  readonly depends: readonly string[];
  /** Patterns of the device identifiers it serves. */
  readonly aliases: readonly string[];
}

export interface KernelModule {
  readonly info: ModuleInfo;
  /** Path relative to the kernel's module directory, without a compression suffix. */
  readonly path: string;
  readonly contents: Uint8Array;
}

const FILE_NAME = /\.ko(\.xz|\.zst|\.gz)?$/;

/**
 * The wanted modules and all they depend on, each behind what it depends on. Those built into the kernel need no
 * file and are left out, as are optional ones that the kernel does not have.
 * @param directory the kernel's module directory, `lib/modules/<release>`
 * @throws VmError VM_IMAGE_BUILD_FAILED when a required module, or one that another depends on, is not there
 */
export async function selectModules(
  directory: string,
  wanted: { readonly required: readonly string[]; readonly optional: readonly string[] },
  options: AptOptions = {},
): Promise<KernelModule[]> {
  const files = new Map<string, string>();
  for (const entry of await readdir(directory, { recursive: true })) {
    const path = entry.replaceAll("\\", "/");
    if (FILE_NAME.test(path)) files.set(moduleName(path), path);
  }
  const builtinList = await readFile(join(directory, "modules.builtin"), "utf8");
  const builtin = new Set(builtinList.split("\n").map(moduleName));
  const selected: KernelModule[] = [];
  const visited = new Set<string>();
  const visit = async (name: string, isRequired: boolean): Promise<void> => {
    if (visited.has(name) || builtin.has(name)) return;
    visited.add(name);
    const file = files.get(name);
    if (file === undefined) {
      if (!isRequired) return;
      throw new VmError("VM_IMAGE_BUILD_FAILED", `the kernel package has no module ${name}`, {
        hint: "Boot a kernel and initrd of your own instead: vmdeck run --kernel FILE --initrd FILE.",
      });
    }
    const contents = await readPossiblyCompressed(join(directory, file), options);
    const info = readModuleInfo(contents);
    for (const dependency of info.depends) await visit(dependency, true);
    selected.push({ info, path: file.replace(FILE_NAME, ".ko"), contents });
  };
  for (const name of wanted.required) await visit(name, true);
  for (const name of wanted.optional) await visit(name, false);
  return selected;
}

/** The text of modules.dep: each module's path, and the paths of all it needs, the one to load first at the end. */
export function dependencyIndex(modules: readonly KernelModule[]): string {
  const byName = new Map(modules.map((module) => [module.info.name, module]));
  const lines = modules.map((module) => {
    const needed = new Set<KernelModule>();
    const visit = (from: KernelModule): void => {
      for (const name of from.info.depends) {
        const dependency = byName.get(name);
        if (dependency === undefined || dependency === module || needed.has(dependency)) continue;
        needed.add(dependency);
        visit(dependency);
      }
    };
    visit(module);
    // `modules` has every module behind its dependencies.
    const inLoadOrder = modules.filter((other) => needed.has(other));
    return [`${module.path}:`, ...inLoadOrder.reverse().map((other) => other.path)].join(" ");
  });
  return lines.map((line) => `${line}\n`).join("");
}

/** The text of modules.alias. */
export function aliasIndex(modules: readonly KernelModule[]): string {
  return modules.flatMap(({ info }) => info.aliases.map((alias) => `alias ${alias} ${info.name}\n`)).join("");
}

/**
 * Reads a module's ".modinfo".
 * @throws VmError VM_IMAGE_BUILD_FAILED for what is no kernel module
 */
export function readModuleInfo(contents: Uint8Array): ModuleInfo {
  const fields = modinfoFields(contents);
  const values = (key: string): string[] =>
    fields.filter((field) => field.startsWith(`${key}=`)).map((field) => field.slice(key.length + 1));
  const name = values("name")[0];
  if (name === undefined) throw notAModule();
  const depends = (values("depends")[0] ?? "").split(",").filter((dependency) => dependency !== "");
  return { name: moduleName(name), depends: depends.map(moduleName), aliases: values("alias") };
}

function modinfoFields(contents: Uint8Array): string[] {
  const view = new DataView(contents.buffer, contents.byteOffset, contents.byteLength);
  const ELF64_LITTLE_ENDIAN = 0x0102_464c_457fn;
  const isElf = contents.length >= 64 && (view.getBigUint64(0, true) & 0xffff_ffff_ffffn) === ELF64_LITTLE_ENDIAN;
  if (!isElf) throw notAModule();
  const tableAt = Number(view.getBigUint64(0x28, true));
  const entryBytes = view.getUint16(0x3a, true);
  const count = view.getUint16(0x3c, true);
  const namesIndex = view.getUint16(0x3e, true);
  if (entryBytes < 64 || tableAt + count * entryBytes > contents.length || namesIndex >= count) throw notAModule();
  const section = (index: number): { nameAt: number; bytes: Uint8Array } => {
    const at = tableAt + index * entryBytes;
    const offset = Number(view.getBigUint64(at + 0x18, true));
    const length = Number(view.getBigUint64(at + 0x20, true));
    return { nameAt: view.getUint32(at, true), bytes: contents.subarray(offset, offset + length) };
  };
  const names = section(namesIndex).bytes;
  for (let index = 0; index < count; index++) {
    const { nameAt, bytes } = section(index);
    const end = names.indexOf(0, nameAt);
    const name = new TextDecoder().decode(names.subarray(nameAt, end < 0 ? names.length : end));
    if (name === ".modinfo") return new TextDecoder().decode(bytes).split("\0");
  }
  throw notAModule();
}

/** A module's name from its name, file name or path. */
function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(FILE_NAME, "").replaceAll("-", "_");
}

function notAModule(): VmError {
  return new VmError("VM_IMAGE_BUILD_FAILED", "a file of the kernel package is no kernel module", {
    hint: "Build the image again: vmdeck image build mini.",
  });
}
