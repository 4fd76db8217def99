/**
 * The order of layers (DESIGN.md, "Where things are"), checked from the imports themselves: a directory of src/ imports
 * only from those before it, a crate depends only on those before it, and no two files import each other in a circle.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SRC = join(ROOT, "src");

/** Directories (and files) of src/, bottom up; those in one row stand side by side and do not know each other. */
const LAYERS = [
  ["errors.ts"],
  ["config"],
  ["native"],
  ["bus"],
  ["storage", "net", "display"],
  ["devices"],
  ["firmware"],
  ["machine"],
  ["recorder", "snapshot"],
  ["store"],
  ["control"],
  ["cluster"],
  ["bench"],
  ["cli"],
  ["index.ts"],
] as const;

/** The vocabulary of devices, types only, which buses speak too. */
const SHARED_TYPES = "devices/device.ts";
/** The library's face does not know the command line, though it stands above it. */
const FORBIDDEN = [["index.ts", "cli"]] as const;

/** Crates, bottom up. */
const CRATES = [
  "guest-mem",
  "softfloat",
  "cpu",
  "decode",
  "lapic",
  "interp",
  "translate",
  "emit",
  "code-cache",
  "vcpu",
  "napi",
  "conformance",
] as const;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function layerOf(file: string): number {
  const [top = ""] = file.split("/");
  return LAYERS.findIndex((row) => (row as readonly string[]).includes(top));
}

function sourceFiles(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".ts"));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), "utf8");
  const statements = text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"(\.{1,2}\/[^"]+)"/gm);
  return [...statements].map(([, type, target = ""]) => {
    const to = relative(SRC, resolve(SRC, dirname(file), target))
      .replaceAll("\\", "/")
      .replace(/\.js$/, ".ts");
    return { from: file, to, typeOnly: type !== undefined };
  });
}

const imports = sourceFiles().flatMap(importsOf);
const show = ({ from, to }: Import) => `${from} imports ${to}`;

test("the imports were found", () => {
  expect(imports.length).toBeGreaterThan(100);
  expect(imports).toContainEqual({ from: "machine/run-loop.ts", to: "native/engine.ts", typeOnly: false });
});

test("every file of src/ is in a layer", () => {
  expect(sourceFiles().filter((file) => layerOf(file) < 0)).toEqual([]);
});

test("src/ imports downward only", () => {
  const wrong = imports.filter((one) => {
    const [from, to] = [layerOf(one.from), layerOf(one.to)];
    if (one.from.split("/")[0] === one.to.split("/")[0]) return false;
    return to >= from && !(one.typeOnly && one.to === SHARED_TYPES);
  });
  expect(wrong.map(show)).toEqual([]);
});

test("the public interface does not know the command line", () => {
  const wrong = imports.filter(({ from, to }) =>
    FORBIDDEN.some(([who, what]) => from === who && to.startsWith(`${what}/`)),
  );
  expect(wrong.map(show)).toEqual([]);
});

test("no files import each other in a circle, not even for types", () => {
  const targets = new Map<string, Import[]>();
  for (const one of imports) targets.set(one.from, [...(targets.get(one.from) ?? []), one]);
  const finished = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      circles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      return;
    }
    if (finished.has(file)) return;
    for (const { to } of targets.get(file) ?? []) visit(to, [...path, file]);
    finished.add(file);
  };
  for (const file of sourceFiles()) visit(file, []);
  expect(circles).toEqual([]);
});

test("crates depend downward only", () => {
  const crates = readdirSync(join(ROOT, "crates"));
  expect(crates.filter((name) => !(CRATES as readonly string[]).includes(name))).toEqual([]);
  expect(localDependencies(readFileSync(join(ROOT, "crates/napi/Cargo.toml"), "utf8"))).toContain("vcpu");
  const wrong = crates.flatMap((name) => {
    const manifest = readFileSync(join(ROOT, "crates", name, "Cargo.toml"), "utf8");
    const below = CRATES.slice(0, (CRATES as readonly string[]).indexOf(name)) as readonly string[];
    return localDependencies(manifest)
      .filter((dependency) => !below.includes(dependency))
      .map((dependency) => `${name} depends on ${dependency}`);
  });
  expect(wrong).toEqual([]);
});

/** Crates of this workspace that a manifest names: they are dependencies by path, and those alone are. */
function localDependencies(manifest: string): string[] {
  return [...manifest.matchAll(/path\s*=\s*"\.\.\/([\w-]+)"/g)].map(([, name = ""]) => name);
}
