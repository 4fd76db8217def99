import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ensureDirectory, replaceFile, resolveHome } from "../../src/store/home.js";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-home-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("the data directory", () => {
  const userHome = "/home/ada";
  test.each([
    ["linux", {}, "/home/ada/.local/share/vmdeck"],
    ["linux", { XDG_DATA_HOME: "/data" }, "/data/vmdeck"],
    ["linux", { XDG_DATA_HOME: "relative" }, "/home/ada/.local/share/vmdeck"],
    ["linux", { XDG_DATA_HOME: "" }, "/home/ada/.local/share/vmdeck"],
    ["linux", { XDG_DATA_HOME: "/data", VMDECK_HOME: "/elsewhere" }, "/elsewhere"],
    ["darwin", { XDG_DATA_HOME: "/data" }, "/home/ada/Library/Application Support/vmdeck"],
    ["win32", { LOCALAPPDATA: "/local" }, "/local/vmdeck"],
    ["win32", {}, "/home/ada/AppData/Local/vmdeck"],
    ["linux", { VMDECK_HOME: "here" }, resolve("here")],
  ] as const)("on %s with %j is %s", (platform, env, expected) => {
    expect(resolveHome({ env, platform, userHome })).toBe(expected);
  });

  test("is created with its parents, for its user only", async () => {
    const path = join(directory, "a", "b");
    await ensureDirectory(path);
    await ensureDirectory(path);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
  });

  test("that is a file, or lies below one, is VM_HOME_UNUSABLE", async () => {
    const file = join(directory, "file");
    await writeFile(file, "");
    for (const path of [file, join(file, "below")]) {
      await expect(ensureDirectory(path)).rejects.toMatchObject({
        code: "VM_HOME_UNUSABLE",
        hint: expect.stringContaining("VMDECK_HOME"),
      });
    }
  });
});

describe("replaceFile", () => {
  test("leaves the new contents and nothing else", async () => {
    const path = join(directory, "file");
    await replaceFile(path, "old");
    await replaceFile(path, new Uint8Array([1, 2, 3]));
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(["file"]);
  });

  test("that fails keeps what was there and leaves no temporary file", async () => {
    const path = join(directory, "taken");
    await mkdir(join(path, "full"), { recursive: true });
    await expect(replaceFile(path, "new")).rejects.toMatchObject({ code: "VM_HOME_UNUSABLE" });
    expect(await readdir(directory)).toEqual(["taken"]);
  });

  test("many at the same time leave one of the contents whole", async () => {
    const path = join(directory, "file");
    const contents = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(1000));
    await Promise.all(contents.map((text) => replaceFile(path, text)));
    expect(contents).toContain(await readFile(path, "utf8"));
    expect(await readdir(directory)).toEqual(["file"]);
  });
});
