import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  createStaging,
  findImage,
  type ImageContents,
  listImages,
  publishImage,
  removeImage,
} from "../../src/store/images.js";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "vmdeck-images-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

function contents(name: string, kernel = "kernel"): ImageContents {
  return {
    name,
    append: "console=ttyS0",
    packages: [{ name: "linux", version: "1", architecture: "amd64", sha256: "0".repeat(64) }],
    kernel: new TextEncoder().encode(kernel),
    initrd: new TextEncoder().encode("initrd"),
    builtAt: new Date(0),
  };
}

describe("image registry", () => {
  test("finds what was published", async () => {
    const published = await publishImage(home, contents("mini"));
    const found = await findImage(home, "mini");
    expect(found).toEqual(published);
    expect(await readFile(found.kernelPath, "utf8")).toBe("kernel");
    expect(await readFile(found.initrdPath, "utf8")).toBe("initrd");
    expect(found.manifest).toMatchObject({
      version: 1,
      name: "mini",
      builtAt: "1970-01-01T00:00:00.000Z",
      kernel: { bytes: 6 },
    });
  });

  test("lists images by name, and none where there is no directory yet", async () => {
    expect(await listImages(join(home, "absent"))).toEqual([]);
    await publishImage(home, contents("b"));
    await publishImage(home, contents("a"));
    await mkdir(join(home, "images", "damaged"));
    expect((await listImages(home)).map((image) => image.manifest.name)).toEqual(["a", "b"]);
  });

  test("a home that is no directory is named as such", async () => {
    const file = join(home, "file");
    await writeFile(file, "");
    const unusable = { code: "VM_HOME_UNUSABLE", hint: expect.stringContaining("--home") };
    await expect(listImages(file)).rejects.toMatchObject(unusable);
    await expect(findImage(file, "mini")).rejects.toMatchObject(unusable);
    await expect(removeImage(file, "mini")).rejects.toMatchObject(unusable);
    await expect(publishImage(file, contents("mini"))).rejects.toMatchObject(unusable);
  });

  test("replaces an image whole", async () => {
    await publishImage(home, contents("mini", "old"));
    await publishImage(home, contents("mini", "new"));
    expect(await readFile((await findImage(home, "mini")).kernelPath, "utf8")).toBe("new");
    expect(await readdir(join(home, "images"))).toEqual(["mini"]);
  });

  test("ten publishers at the same time leave one whole image", async () => {
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => publishImage(home, contents("mini", `kernel ${index}`))),
    );
    await findImage(home, "mini");
    expect(await readdir(join(home, "images"))).toEqual(["mini"]);
  });

  test("removes images, damaged ones too", async () => {
    const image = await publishImage(home, contents("mini"));
    await truncate(join(image.directory, "manifest.json"));
    await removeImage(home, "mini");
    expect(await readdir(join(home, "images"))).toEqual([]);
    await expect(removeImage(home, "mini")).rejects.toMatchObject({ code: "VM_IMAGE_NOT_FOUND" });
  });

  test.each(["absent", "", "..", "../images/mini", "a/b", "A", ".hidden"])("has no image %j", async (name) => {
    await publishImage(home, contents("mini"));
    await expect(findImage(home, name)).rejects.toMatchObject({ code: "VM_IMAGE_NOT_FOUND" });
    await expect(removeImage(home, name)).rejects.toMatchObject({ code: "VM_IMAGE_NOT_FOUND" });
    await findImage(home, "mini");
  });

  test("removes abandoned work of long ago only", async () => {
    const old = await createStaging(home);
    await utimes(old, 0, 0);
    const recent = await createStaging(home);
    const left = await readdir(join(home, "images"));
    expect(left.map((name) => join(home, "images", name))).toEqual([recent]);
    expect(await listImages(home)).toEqual([]);
  });
});

describe("a damaged image", () => {
  const damage: [string, (directory: string) => Promise<void>][] = [
    ["a byte of the kernel changed", (directory) => writeFile(join(directory, "kernel"), "kernal")],
    ["the initrd cut short", (directory) => truncate(join(directory, "initrd"), 3)],
    ["the kernel gone", (directory) => rm(join(directory, "kernel"))],
    ["the manifest gone", (directory) => rm(join(directory, "manifest.json"))],
    ["the manifest no JSON", (directory) => writeFile(join(directory, "manifest.json"), "{")],
    ["the manifest of an unknown version", (directory) => writeFile(join(directory, "manifest.json"), '{"version":2}')],
  ];
  test.each(damage)("with %s is told as VM_IMAGE_DAMAGED", async (_, change) => {
    const image = await publishImage(home, contents("mini"));
    await change(image.directory);
    await expect(findImage(home, "mini")).rejects.toMatchObject({
      code: "VM_IMAGE_DAMAGED",
      hint: expect.stringContaining("vmdeck image build mini"),
    });
  });
});
