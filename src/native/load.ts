/**
 * Finds and loads the native addon: an explicit path, the build beside the compiled code, or the prebuilt package of
 * this platform. The only place that knows file names of addons; what the addon can do is `addon-engine.ts`.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { VmError } from "../errors.js";

/** One machine as the addon exports it; 64-bit numbers cross as f64 where 2^53 is enough, else as two halves or hexadecimal text. */
export interface RawMachine {
  /** A bare function that runs a vCPU to its next exit; request and exit are words of the page. */
  runner(): () => void;
  kick(): void;
  lastError(): string;
  mapRam(address: number, length: number, ramOffset: number): void;
  mapRom(address: number, length: number, ramOffset: number): void;
  mapReadDirect(address: number, length: number, ramOffset: number): void;
  mapMmio(address: number, length: number): void;
  readMemory(address: number, target: Uint8Array): boolean;
  writeMemory(address: number, source: Uint8Array): boolean;
  guestNs(): number;
  instructions(): number;
  anchorClock(ns: number, picosecondsPerInstruction: number): void;
  setIntr(vcpu: number, high: boolean): void;
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean;
  nmi(vcpu: number): void;
  registersJson(vcpu: number): string;
  setRegistersJson(vcpu: number, registers: string): void;
  enterVirtualWire(): void;
  reset(): void;
  statsJson(): string;
  dump(vcpu: number): string;
  close(): void;
}

/** The addon's exports. */
export interface Addon {
  readonly NativeMachine: new (optionsJson: string, exitPage: Uint32Array) => RawMachine;
  /** JSON of `EngineInfo`. */
  engineInfo(): string;
  /** As `FileCalls`. */
  lockFile(fd: number, exclusive: boolean): boolean;
  punchHole(fd: number, offset: number, length: number): Promise<boolean>;
}

export interface LoadedAddon {
  readonly addon: Addon;
  /** Path or package name it was loaded from. */
  readonly origin: string;
}

/** Node's platform, architecture and C library as the addon's file name spells them ("linux-x64-gnu"). */
export function platformTag(platform: string, arch: string, musl: boolean): string {
  if (platform === "linux") return `linux-${arch}-${musl ? "musl" : "gnu"}`;
  return platform === "win32" ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

/** The process report names the glibc it runs on; under musl there is none. */
function runsOnMusl(): boolean {
  if (process.platform !== "linux") return false;
  const report: unknown = process.report.getReport();
  if (typeof report !== "object" || report === null || !("header" in report)) return false;
  const header = report.header as { readonly glibcVersionRuntime?: string };
  return header.glibcVersionRuntime === undefined;
}

/**
 * Loads the addon; Node keeps it, so that a second call costs a look-up.
 * @throws VmError VM_ADDON_MISSING when there is none for this platform, VM_ADDON_FAILED when there is one that does not load.
 */
export function loadAddon(environment: NodeJS.ProcessEnv = process.env): LoadedAddon {
  const tag = platformTag(process.platform, process.arch, runsOnMusl());
  const require = createRequire(import.meta.url);
  const explicit = environment.VMDECK_NATIVE_PATH;
  // From src/native and from dist/native alike, this is the package's dist/native.
  const built = fileURLToPath(new URL(`../../dist/native/vmdeck.${tag}.node`, import.meta.url));
  const origin = explicit ?? (existsSync(built) ? built : `@vmdeck/native-${tag}`);
  try {
    return { addon: require(origin) as Addon, origin };
  } catch (cause) {
    const absent = (cause as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND";
    if (!absent) {
      throw new VmError("VM_ADDON_FAILED", `the native addon ${origin} does not load: ${(cause as Error).message}`, {
        cause,
        hint: "it may be built for another system; rebuild it with `npm run build:native`",
      });
    }
    throw new VmError("VM_ADDON_MISSING", `no native addon for ${tag} (looked for ${built} and ${origin})`, {
      cause,
      hint:
        explicit === undefined
          ? `build it with \`npm run build:native\`, or install @vmdeck/native-${tag}`
          : "VMDECK_NATIVE_PATH must name an existing .node file",
    });
  }
}
