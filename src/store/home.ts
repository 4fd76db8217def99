/**
 * The data directory: where it is, that it is usable, and how files in it are replaced so that a crash at any
 * moment leaves the old contents or the new (write to a temporary name, fsync, rename, fsync the directory).
 */
import { randomBytes } from "node:crypto";
import { access, constants, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { VmError } from "../errors.js";

/** What of the host decides where the data directory is. */
export interface HomeSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  /** The user's home directory. */
  readonly userHome: string;
}

/**
 * The data directory's absolute path: VMDECK_HOME if set, else the platform's place for user data. Creates nothing.
 */
export function resolveHome(
  sources: HomeSources = { env: process.env, platform: process.platform, userHome: homedir() },
): string {
  const { env, platform, userHome } = sources;
  if (env.VMDECK_HOME) return resolve(env.VMDECK_HOME);
  if (platform === "win32") return join(env.LOCALAPPDATA || join(userHome, "AppData", "Local"), "vmdeck");
  if (platform === "darwin") return join(userHome, "Library", "Application Support", "vmdeck");
  // The XDG base directory specification has relative paths ignored.
  const dataHome = env.XDG_DATA_HOME && isAbsolute(env.XDG_DATA_HOME) ? env.XDG_DATA_HOME : undefined;
  return join(dataHome ?? join(userHome, ".local", "share"), "vmdeck");
}

/**
 * Creates a directory (the data directory or one in it) with its parents where missing, for this user only.
 * @throws VmError VM_HOME_UNUSABLE when it cannot be created or written to.
 */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const found = await stat(path);
    if (!found.isDirectory()) throw new Error("it is no directory");
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new VmError("VM_HOME_UNUSABLE", `the data directory ${path} cannot be used: ${reasonOf(cause)}`, {
      hint: "Name a directory you may write to with VMDECK_HOME or --home.",
      cause,
    });
  }
}

/**
 * Replaces a file's contents, durably and at once; its directory must exist.
 * @throws VmError VM_HOME_UNUSABLE; the old contents are then still there.
 */
export async function replaceFile(path: string, contents: Uint8Array | string, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await writeDurably(temporary, contents, mode);
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new VmError("VM_HOME_UNUSABLE", `${path} cannot be written: ${reasonOf(cause)}`, {
      hint: "See that the disk has room and that you may write there.",
      cause,
    });
  }
}

/** Writes a new file and waits until its contents are on disk. */
export async function writeDurably(path: string, contents: Uint8Array | string, mode = 0o600): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.writeFile(contents);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Waits until a directory's entries are on disk. Windows has no such call and orders its own metadata. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
