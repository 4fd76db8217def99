/**
 * Fetches and unpacks Debian packages with the host's own apt and dpkg-deb, without root and without touching the
 * host's apt state: package lists and caches are private, sources, keys, proxies and credentials are the host's.
 * apt verifies what it fetches by its own chain (signed release, hashed lists, hashed packages).
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VmError } from "../errors.js";

/** A package as apt's lists describe it. */
export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Names of the packages it depends on, alternatives included. */
  readonly depends: readonly string[];
  readonly sha256: string;
}

export interface AptOptions {
  /** Told in one line what is being done. */
  readonly onProgress?: ((line: string) => void) | undefined;
  /** Ends the work; the promise at hand is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const ARCHITECTURE = "amd64";
/** Of a failing program's messages, the part worth showing. */
const MESSAGE_LINES = 8;

/**
 * Hooks of the host (docker images clean the system's cache in one) and index files nobody reads here are switched
 * off. The sandbox user could not enter a private directory; the parsers then run as the caller, as they do for every
 * caller but root.
 */
const APT_CONF = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear APT::Architectures;
APT::Architecture "${ARCHITECTURE}";
APT::Architectures { "${ARCHITECTURE}"; };
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "2";
`;

/** One private apt: lists and cache under its own directory, which the caller removes. */
export class PrivateApt {
  readonly #directory: string;
  readonly #options: AptOptions;
  #updateMessages = "";

  private constructor(directory: string, options: AptOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /**
   * Prepares an apt in an empty directory.
   * @throws VmError VM_APT_MISSING when the host has no apt-get, apt-cache or dpkg-deb.
   */
  static async create(directory: string, options: AptOptions = {}): Promise<PrivateApt> {
    const apt = new PrivateApt(directory, options);
    for (const tool of ["apt-get", "apt-cache", "dpkg-deb"]) await run(tool, ["--version"], {});
    await mkdir(join(directory, "state", "lists", "partial"), { recursive: true });
    await mkdir(join(directory, "cache", "archives", "partial"), { recursive: true });
    await writeFile(join(directory, "status"), "");
    await writeFile(join(directory, "apt.conf"), APT_CONF);
    return apt;
  }

  /** Fetches the package lists of the host's sources. A source that fails is passed over; what is then missing tells. */
  async update(): Promise<void> {
    this.#options.onProgress?.("fetching package lists");
    try {
      await this.#apt("apt-get", ["update"]);
    } catch (error) {
      if (!(error instanceof VmError) || error.code !== "VM_IMAGE_BUILD_FAILED") throw error;
      this.#updateMessages = error.message;
    }
  }

  /**
   * The candidate version of a package.
   * @throws VmError VM_IMAGE_BUILD_FAILED when the host's sources have none.
   */
  async describe(name: string): Promise<PackageRecord> {
    const text = await this.#apt("apt-cache", ["show", "--no-all-versions", name]).catch((cause: unknown) => {
      throw cause instanceof VmError && cause.code === "VM_IMAGE_BUILD_FAILED" ? this.#unavailable(name, cause) : cause;
    });
    const record = parsePackageRecord(text, name);
    if (record === undefined) throw this.#unavailable(name);
    return record;
  }

  /** Fetches packages; the answer has their files' paths in the same order. */
  async download(packages: readonly PackageRecord[]): Promise<string[]> {
    const into = join(this.#directory, "packages");
    await mkdir(into, { recursive: true });
    const paths: string[] = [];
    for (const wanted of packages) {
      this.#options.onProgress?.(`fetching ${wanted.name} ${wanted.version}`);
      await this.#apt("apt-get", ["download", `${wanted.name}=${wanted.version}`], into);
      const file = (await readdir(into)).find((entry) => entry.startsWith(`${wanted.name}_`) && entry.endsWith(".deb"));
      if (file === undefined) throw failed(`apt-get fetched no file for ${wanted.name}`);
      const path = join(into, file);
      const actual = createHash("sha256")
        .update(await readFile(path))
        .digest("hex");
      if (actual !== wanted.sha256) throw failed(`${wanted.name} is not the file that the package list names`);
      paths.push(path);
    }
    return paths;
  }

  /** Unpacks a package's files under `into`, without running anything of it. */
  async unpack(path: string, into: string): Promise<void> {
    await mkdir(into, { recursive: true });
    await run("dpkg-deb", ["-x", path, into], this.#options);
  }

  #apt(tool: string, args: readonly string[], cwd = this.#directory): Promise<string> {
    const at = (name: string): string => join(this.#directory, name);
    const options = [
      ["-c", at("apt.conf")],
      ["-o", `Dir::State=${at("state")}`],
      ["-o", `Dir::State::status=${at("status")}`],
      ["-o", `Dir::Cache=${at("cache")}`],
    ];
    return run(tool, ["-q", ...options.flat(), ...args], this.#options, cwd);
  }

  #unavailable(name: string, cause?: unknown): VmError {
    const why = this.#updateMessages === "" ? "" : `; ${this.#updateMessages}`;
    return new VmError("VM_IMAGE_BUILD_FAILED", `this host's apt sources have no package ${name}${why}`, {
      hint: "The image is made of Debian's packages: see that the network and a Debian source work, or boot your own: vmdeck run --kernel FILE --initrd FILE.",
      cause,
    });
  }
}

/** Reads one package's stanza of `apt-cache show`; undefined when there is none or it is incomplete. */
export function parsePackageRecord(text: string, name: string): PackageRecord | undefined {
  for (const stanza of text.split(/\n\n+/)) {
    const fields = new Map<string, string>();
    for (const line of stanza.replace(/\n[ \t]+/g, " ").split("\n")) {
      const match = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
      if (match?.[1] !== undefined && match[2] !== undefined) fields.set(match[1].toLowerCase(), match[2]);
    }
    const version = fields.get("version");
    const architecture = fields.get("architecture");
    const sha256 = fields.get("sha256");
    if (fields.get("package") !== name || version === undefined || architecture === undefined) continue;
    if (sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256)) continue;
    const relations = [fields.get("pre-depends"), fields.get("depends")].filter((text) => text !== undefined).join(",");
    const depends = relations
      .split(/[,|]/)
      .flatMap((relation) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(relation)?.[1] ?? []);
    return { name, version, architecture, depends, sha256 };
  }
  return undefined;
}

/**
 * Decompresses with the host's own program, found by the file's suffix (".xz", ".zst", ".gz"); other files are as they are.
 * @throws VmError VM_IMAGE_BUILD_FAILED
 */
export async function readPossiblyCompressed(path: string, options: AptOptions = {}): Promise<Uint8Array> {
  const tool = path.endsWith(".xz") ? "xz" : path.endsWith(".zst") ? "zstd" : path.endsWith(".gz") ? "gzip" : undefined;
  return tool === undefined ? readFile(path) : runForBytes(tool, ["-dc", path], options);
}

async function run(tool: string, args: readonly string[], options: AptOptions, cwd?: string): Promise<string> {
  return new TextDecoder().decode(await runForBytes(tool, args, options, cwd));
}

/** Runs a program to its end and returns its standard output. */
function runForBytes(tool: string, args: readonly string[], options: AptOptions, cwd?: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      stdio: ["ignore", "pipe", "pipe"],
      signal: options.signal,
    });
    const output: Uint8Array[] = [];
    const messages: Uint8Array[] = [];
    child.stdout.on("data", (chunk: Uint8Array) => output.push(chunk));
    child.stderr.on("data", (chunk: Uint8Array) => messages.push(chunk));
    child.on("error", (cause) => {
      if (options.signal?.aborted) reject(options.signal.reason);
      else reject(notRunnable(tool, cause));
    });
    child.on("close", (status, ending) => {
      if (status === 0) return resolve(Buffer.concat(output));
      const said = Buffer.concat(messages).toString("utf8").trim().split("\n").slice(-MESSAGE_LINES).join("\n");
      reject(failed(`${tool} failed (${ending ?? `status ${status}`})${said === "" ? "" : `: ${said}`}`));
    });
  });
}

function notRunnable(tool: string, cause: Error): VmError {
  const missing = "code" in cause && cause.code === "ENOENT";
  if (!missing) return failed(`${tool} cannot be run: ${cause.message}`, cause);
  const isDecompressor = !tool.startsWith("apt") && tool !== "dpkg-deb";
  if (isDecompressor) return failed(`the packages are compressed with ${tool}, which this host does not have`, cause);
  return new VmError("VM_APT_MISSING", `this host has no ${tool}, which the image is built with`, {
    hint: "Boot a kernel and initrd of your own instead: vmdeck run --kernel FILE --initrd FILE.",
    cause,
  });
}

function failed(message: string, cause?: unknown): VmError {
  return new VmError("VM_IMAGE_BUILD_FAILED", message, {
    hint: "Try again, or boot a kernel and initrd of your own: vmdeck run --kernel FILE --initrd FILE.",
    cause,
  });
}
