/**
 * The image registry: one directory per image under `<home>/images`, with a versioned manifest, a kernel and an
 * initrd. An image appears whole or not at all (its directory is renamed into place) and is checked when it is used.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { VmError } from "../errors.js";
import { ensureDirectory, syncDirectory, writeDurably } from "./home.js";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const imageFile = z.strictObject({ bytes: z.number().int().nonnegative(), sha256 });

/** What an image is made of and how it boots; `version` is the format's. */
export const manifestSchema = z.strictObject({
  version: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  /** ISO 8601, UTC. */
  builtAt: z.iso.datetime(),
  /** Kernel command line the image wants. */
  append: z.string(),
  packages: z.array(z.strictObject({ name: z.string(), version: z.string(), architecture: z.string(), sha256 })),
  kernel: imageFile,
  initrd: imageFile,
});
export type ImageManifest = z.infer<typeof manifestSchema>;

/** An image on disk. Paths are absolute. */
export interface Image {
  readonly manifest: ImageManifest;
  readonly directory: string;
  readonly kernelPath: string;
  readonly initrdPath: string;
}

/** An image's directory holds these files and nothing else. */
const FILES = { manifest: "manifest.json", kernel: "kernel", initrd: "initrd" } as const;
/** Entries that start so are being built or removed. */
const UNFINISHED = ".";
const STALE_AFTER_MS = 24 * 3600 * 1000;

/** What a new image consists of; sizes and hashes are computed. */
export interface ImageContents {
  readonly name: string;
  readonly append: string;
  readonly packages: ImageManifest["packages"];
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly builtAt: Date;
}

/**
 * All images in `home` by name, in order. Unlike `findImage` reads manifests only; a damaged one is left out.
 * @throws VmError VM_HOME_UNUSABLE
 */
export async function listImages(home: string): Promise<Image[]> {
  const names = await readdir(imagesDirectory(home)).catch(nothingThere([])).catch(unusable(home));
  const images = await Promise.all(
    names
      .filter((name) => !name.startsWith(UNFINISHED))
      .sort()
      .map((name) => readImage(home, name).catch(() => undefined)),
  );
  return images.filter((image) => image !== undefined);
}

/**
 * The image of this name, its files checked against the manifest's sizes and hashes.
 * @throws VmError VM_IMAGE_NOT_FOUND, VM_IMAGE_DAMAGED, VM_HOME_UNUSABLE
 */
export async function findImage(home: string, name: string): Promise<Image> {
  const image = await readImage(home, name);
  await checkFile(image, image.kernelPath, image.manifest.kernel);
  await checkFile(image, image.initrdPath, image.manifest.initrd);
  return image;
}

/**
 * Removes an image, damaged or not.
 * @throws VmError VM_IMAGE_NOT_FOUND, VM_HOME_UNUSABLE
 */
export async function removeImage(home: string, name: string): Promise<void> {
  const trash = await setAside(home, name).catch(unusable(home));
  if (trash === undefined) throw notFound(name);
  await rm(trash, { recursive: true, force: true }).catch(unusable(home));
}

/**
 * Puts a new image in place of the one of the same name, if any. Several at the same time are safe: the last wins.
 * @throws VmError VM_HOME_UNUSABLE
 */
export async function publishImage(home: string, contents: ImageContents): Promise<Image> {
  const staging = await createStaging(home);
  try {
    const manifest: ImageManifest = {
      version: 1,
      name: contents.name,
      builtAt: contents.builtAt.toISOString(),
      append: contents.append,
      packages: contents.packages,
      kernel: describe(contents.kernel),
      initrd: describe(contents.initrd),
    };
    const finished = join(staging, "image");
    await mkdir(finished, { mode: 0o700 });
    await writeDurably(join(finished, FILES.kernel), contents.kernel);
    await writeDurably(join(finished, FILES.initrd), contents.initrd);
    await writeDurably(
      join(finished, FILES.manifest),
      `${JSON.stringify(manifestSchema.parse(manifest), undefined, 2)}\n`,
    );
    await syncDirectory(finished);
    await moveIntoPlace(home, finished, contents.name);
    return located(home, manifest);
  } catch (cause) {
    if (cause instanceof VmError) throw cause;
    throw new VmError("VM_HOME_UNUSABLE", `image ${contents.name} cannot be written: ${reasonOf(cause)}`, {
      hint: "See that the disk has room and that you may write to the data directory (VMDECK_HOME or --home).",
      cause,
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** A fresh directory next to the images for work in progress; the caller removes it. Abandoned ones are removed here. */
export async function createStaging(home: string): Promise<string> {
  const images = imagesDirectory(home);
  await ensureDirectory(images);
  for (const name of await readdir(images)) {
    if (!name.startsWith(UNFINISHED)) continue;
    const path = join(images, name);
    const age = await stat(path).then((found) => Date.now() - found.mtimeMs, nothingThere(0));
    if (age > STALE_AFTER_MS) await rm(path, { recursive: true, force: true });
  }
  const staging = join(images, unfinishedName());
  await ensureDirectory(staging);
  return staging;
}

async function readImage(home: string, name: string): Promise<Image> {
  const found = manifestSchema.shape.name.safeParse(name);
  if (!found.success) throw notFound(name);
  const path = join(imagesDirectory(home), name, FILES.manifest);
  const text = await readFile(path, "utf8").catch(async (cause: unknown) => {
    const directory = join(imagesDirectory(home), name);
    const exists = await stat(directory)
      .then(() => true, nothingThere(false))
      .catch(unusable(home));
    throw exists ? damaged(name, "its manifest cannot be read", cause) : notFound(name);
  });
  try {
    const manifest = manifestSchema.parse(JSON.parse(text));
    if (manifest.name !== name) throw new Error(`it is the manifest of ${manifest.name}`);
    return located(home, manifest);
  } catch (cause) {
    throw damaged(name, "its manifest is invalid", cause);
  }
}

function located(home: string, manifest: ImageManifest): Image {
  const directory = join(imagesDirectory(home), manifest.name);
  return { manifest, directory, kernelPath: join(directory, FILES.kernel), initrdPath: join(directory, FILES.initrd) };
}

async function checkFile(image: Image, path: string, expected: z.infer<typeof imageFile>): Promise<void> {
  const contents = await readFile(path).catch((cause: unknown) => {
    throw damaged(image.manifest.name, `${path} cannot be read`, cause);
  });
  const actual = describe(contents);
  if (actual.bytes !== expected.bytes || actual.sha256 !== expected.sha256) {
    throw damaged(image.manifest.name, `${path} is not what was built`);
  }
}

/** A directory cannot be renamed over one that is not empty, so the old is set aside first; another builder may be as quick. */
async function moveIntoPlace(home: string, finished: string, name: string): Promise<void> {
  const target = join(imagesDirectory(home), name);
  const ATTEMPTS = 20;
  for (let attempt = 1; ; attempt++) {
    const trash = await setAside(home, name);
    try {
      await rename(finished, target);
      await syncDirectory(imagesDirectory(home));
      return;
    } catch (error) {
      if (attempt < ATTEMPTS && ["ENOTEMPTY", "EEXIST", "EPERM"].includes(codeOf(error))) continue;
      // The old image serves on; where another builder's has taken its place, that one does.
      if (trash !== undefined) await rename(trash, target).catch(() => {});
      throw error;
    } finally {
      if (trash !== undefined) await rm(trash, { recursive: true, force: true });
    }
  }
}

/** Renames an image's directory out of the way; undefined if there is none. */
async function setAside(home: string, name: string): Promise<string | undefined> {
  if (!manifestSchema.shape.name.safeParse(name).success) return undefined;
  const trash = join(imagesDirectory(home), unfinishedName());
  return rename(join(imagesDirectory(home), name), trash).then(() => trash, nothingThere(undefined));
}

function imagesDirectory(home: string): string {
  return join(home, "images");
}

function unfinishedName(): string {
  return `${UNFINISHED}${process.pid}-${randomBytes(6).toString("hex")}`;
}

function describe(contents: Uint8Array): z.infer<typeof imageFile> {
  return { bytes: contents.length, sha256: createHash("sha256").update(contents).digest("hex") };
}

/** Turns "no such file" into a value; every other error goes on. */
function nothingThere<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (codeOf(error) === "ENOENT") return value;
    throw error;
  };
}

/** The data directory itself is the matter: no directory, or not ours to use. */
function unusable(home: string): (cause: unknown) => never {
  return (cause) => {
    throw new VmError("VM_HOME_UNUSABLE", `the data directory ${home} cannot be used: ${reasonOf(cause)}`, {
      hint: "Name a directory you may write to with VMDECK_HOME or --home.",
      cause,
    });
  };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function notFound(name: string): VmError {
  return new VmError("VM_IMAGE_NOT_FOUND", `there is no image ${JSON.stringify(name)}`, {
    hint: "See what there is with: vmdeck image ls. Build the default image with: vmdeck image build mini.",
  });
}

function damaged(name: string, reason: string, cause?: unknown): VmError {
  return new VmError("VM_IMAGE_DAMAGED", `image ${name} is damaged: ${reason}`, {
    hint: `Build it again with: vmdeck image build ${name}.`,
    cause,
  });
}
