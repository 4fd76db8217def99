/**
 * mkfs.ext4, e2fsck and debugfs: the host's own where it has them, and otherwise Debian's, fetched and unpacked without
 * root by the machinery that builds images.
 */
import { execFile } from "node:child_process";
import { access, constants, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { type PackageRecord, PrivateApt } from "../../src/store/apt.js";
import { TEST_HOME } from "./test-home.js";

const TOOLS = ["mke2fs", "e2fsck", "debugfs"] as const;
type Tool = (typeof TOOLS)[number];

const PACKAGE = "e2fsprogs";
/** Libraries that every host with Node.js has. */
const PRESENT_EVERYWHERE = /^(libc6|libgcc|gcc-|logsave|dpkg|debconf)/;
const UNPACKED = join(TEST_HOME, PACKAGE);

export class E2fsprogs {
  readonly #paths: Readonly<Record<Tool, string>>;
  readonly #environment: NodeJS.ProcessEnv;

  private constructor(paths: Readonly<Record<Tool, string>>, environment: NodeJS.ProcessEnv) {
    this.#paths = paths;
    this.#environment = environment;
  }

  /** Finds the programs, or fetches them. */
  static async find(): Promise<E2fsprogs> {
    const own = await locate([...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"]);
    if (own !== undefined) return new E2fsprogs(own, process.env);
    const unpacked = (await locateUnpacked()) ?? (await fetchAndLocate());
    const libraries = await libraryDirectories(UNPACKED);
    return new E2fsprogs(unpacked, { ...process.env, LD_LIBRARY_PATH: libraries.join(delimiter) });
  }

  /** Makes an ext4 file system of `sizeMiB` with the contents of a directory, owned by root. */
  async format(image: string, contents: string, sizeMiB: number): Promise<void> {
    await this.#run("mke2fs", ["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", contents, image, `${sizeMiB}M`]);
  }

  /** What a forced check that changes nothing says. Rejects when it finds the file system unclean or damaged. */
  async check(image: string): Promise<string> {
    return (await this.#run("e2fsck", ["-f", "-n", image])).toString();
  }

  /** A file's contents, read from the image. */
  async read(image: string, path: string): Promise<Buffer> {
    return await this.#run("debugfs", ["-R", `cat ${path}`, image]);
  }

  async #run(tool: Tool, args: readonly string[]): Promise<Buffer> {
    const { stdout } = await promisify(execFile)(this.#paths[tool], args, {
      env: { ...this.#environment, LC_ALL: "C" },
      encoding: "buffer",
      maxBuffer: 1 << 28,
    });
    return stdout;
  }
}

async function locate(directories: readonly string[]): Promise<Record<Tool, string> | undefined> {
  const found = await Promise.all(TOOLS.map((tool) => firstExecutable(directories.map((from) => join(from, tool)))));
  const [mke2fs, e2fsck, debugfs] = found;
  if (mke2fs === undefined || e2fsck === undefined || debugfs === undefined) return undefined;
  return { mke2fs, e2fsck, debugfs };
}

async function firstExecutable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const executable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (executable) return path;
  }
  return undefined;
}

function locateUnpacked(): Promise<Record<Tool, string> | undefined> {
  return locate([join(UNPACKED, "usr", "sbin"), join(UNPACKED, "sbin")]);
}

async function fetchAndLocate(): Promise<Record<Tool, string>> {
  await mkdir(TEST_HOME, { recursive: true });
  const work = await mkdtemp(join(TEST_HOME, "work-"));
  try {
    const apt = await PrivateApt.create(work);
    await apt.update();
    const root = join(work, "root");
    for (const path of await apt.download(await withLibraries(apt))) await apt.unpack(path, root);
    await rename(root, UNPACKED);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const tools = await locateUnpacked();
  if (tools === undefined) throw new Error(`the package ${PACKAGE} lacks one of ${TOOLS.join(", ")}`);
  return tools;
}

/** The package and all libraries it depends on, but for those that are there anyway. */
async function withLibraries(apt: PrivateApt): Promise<PackageRecord[]> {
  const records = new Map<string, PackageRecord>();
  const visit = async (name: string): Promise<void> => {
    if (records.has(name) || PRESENT_EVERYWHERE.test(name)) return;
    const record = await apt.describe(name).catch(() => undefined);
    if (record === undefined) return;
    records.set(name, record);
    for (const dependency of record.depends) await visit(dependency);
  };
  await visit(PACKAGE);
  return [...records.values()];
}

/** Directories with shared libraries under `root`. */
async function libraryDirectories(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return [...new Set(entries.filter(({ name }) => /\.so(\.|$)/.test(name)).map(({ parentPath }) => parentPath))];
}
