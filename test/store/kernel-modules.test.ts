import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { aliasIndex, dependencyIndex, readModuleInfo, selectModules } from "../../src/store/kernel-modules.js";
import { mutate, randomNumbers } from "../firmware/boot-files.js";
import { moduleFile } from "./kernel-tree.js";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-modules-"));
  await writeFile(join(directory, "modules.builtin"), "kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\n");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function put(path: string, contents: Uint8Array): Promise<void> {
  await mkdir(dirname(join(directory, path)), { recursive: true });
  await writeFile(join(directory, path), contents);
}

describe("kernel modules", () => {
  test("come with all they depend on, in the order to load them", async () => {
    await put(
      "kernel/a/virtio-blk.ko",
      moduleFile({ name: "virtio_blk", depends: ["virtio", "ring", "crc16"], aliases: ["virtio:d2*"] }),
    );
    await put("kernel/b/virtio.ko", moduleFile({ name: "virtio", depends: ["ring"] }));
    await put("kernel/b/ring.ko", moduleFile({ name: "ring" }));
    await put("kernel/c/unrelated.ko", moduleFile({ name: "unrelated" }));
    const modules = await selectModules(directory, { required: ["virtio_blk", "ext4"], optional: ["absent", "ring"] });
    expect(modules.map((module) => module.info.name)).toEqual(["ring", "virtio", "virtio_blk"]);
    expect(dependencyIndex(modules)).toBe(
      "kernel/b/ring.ko:\nkernel/b/virtio.ko: kernel/b/ring.ko\nkernel/a/virtio-blk.ko: kernel/b/virtio.ko kernel/b/ring.ko\n",
    );
    expect(aliasIndex(modules)).toBe("alias virtio:d2* virtio_blk\n");
  });

  test("are decompressed", async () => {
    const file = moduleFile({ name: "loop" });
    await put("kernel/loop.ko.gz", gzipSync(file));
    const [module] = await selectModules(directory, { required: ["loop"], optional: [] });
    expect(module?.path).toBe("kernel/loop.ko");
    expect(new Uint8Array(module?.contents ?? [])).toEqual(file);
  });

  test("that need each other do not go round for ever", async () => {
    await put("kernel/a.ko", moduleFile({ name: "a", depends: ["b"] }));
    await put("kernel/b.ko", moduleFile({ name: "b", depends: ["a"] }));
    const work = selectModules(directory, { required: ["a"], optional: [] });
    expect((await work).map((module) => module.info.name).sort()).toEqual(["a", "b"]);
  });

  test("that are required but absent fail the build", async () => {
    const work = selectModules(directory, { required: ["absent"], optional: [] });
    await expect(work).rejects.toMatchObject({ code: "VM_IMAGE_BUILD_FAILED" });
  });

  test("2,000 damaged files are read or refused", () => {
    const random = randomNumbers(3);
    const file = moduleFile({ name: "a", depends: ["b"] });
    let refused = 0;
    for (let round = 0; round < 2_000; round++) {
      try {
        readModuleInfo(mutate(file, random, file.length));
      } catch (error) {
        expect(error).toMatchObject({ code: "VM_IMAGE_BUILD_FAILED" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(500);
  });
});
