/**
 * The data directory of the end-to-end tests, inside the checkout's build output, and the image `mini` in it: built for
 * real, by the command people use, once before all end-to-end tests, and kept until the code that builds it changes.
 */
import { spawn } from "node:child_process";
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findImage, type Image } from "../../src/store/images.js";

/** The compiled command line program. */
export const BIN = fileURLToPath(new URL("../../bin/vmdeck.js", import.meta.url));
export const TEST_HOME = fileURLToPath(new URL("../../dist/test-home", import.meta.url));
const STORE_SOURCES = fileURLToPath(new URL("../../src/store", import.meta.url));

/** Vitest calls this before the first end-to-end test. */
export async function setup(): Promise<void> {
  await mkdir(TEST_HOME, { recursive: true });
  if (await isUpToDate()) return;
  const build = spawn(process.execPath, [BIN, "image", "build", "mini", "--home", TEST_HOME], { stdio: "inherit" });
  const status = await new Promise((resolve, reject) => build.on("error", reject).on("close", resolve));
  if (status !== 0) throw new Error(`the image mini cannot be built (status ${status}); its messages are above`);
}

/** The image, checked. */
export function miniImage(): Promise<Image> {
  return findImage(TEST_HOME, "mini");
}

/** What `uname -r` must say in it, by its manifest. */
export async function miniKernelRelease(): Promise<string> {
  const { manifest } = await miniImage();
  const names = manifest.packages.map(({ name }) => /^linux-image-(\d.*?)(-unsigned)?$/.exec(name)?.[1]);
  const release = names.find((name) => name !== undefined);
  if (release === undefined) throw new Error("the manifest names no kernel package");
  return release;
}

async function isUpToDate(): Promise<boolean> {
  const image = await miniImage().catch(() => undefined);
  if (image === undefined) return false;
  const files = (await readdir(STORE_SOURCES)).map((name) => join(STORE_SOURCES, name));
  const newest = Math.max(...(await Promise.all(files.map(async (file) => (await stat(file)).mtimeMs))));
  return Date.parse(image.manifest.builtAt) > newest;
}
