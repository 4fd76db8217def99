import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parsePackageRecord } from "../../src/store/apt.js";
import { readCpio } from "../../src/store/cpio.js";
import { findImage } from "../../src/store/images.js";
import { buildMini } from "../../src/store/mini-image.js";
import { bzImage } from "../firmware/boot-files.js";
import { moduleFile } from "./kernel-tree.js";

const RELEASE = "6.1.0-9-cloud-amd64";
let directory: string;
let home: string;
const PATH = process.env.PATH;

/**
 * Stand-ins for apt-get, apt-cache and dpkg-deb: packages are files named by their package, unpacking one copies the
 * tree `<package>` next to it. A file "broken" makes downloads fail.
 */
const TOOLS: Record<string, string> = {
  "apt-cache": `
const name = args.at(-1);
const depends = { "linux-image-cloud-amd64": "linux-image-${RELEASE} (= 1.2)" }[name];
const sha256 = require("node:crypto").createHash("sha256").update(name).digest("hex");
console.log(["Package: " + name, "Version: 1:2.0-3", "Architecture: amd64", depends ? "Depends: " + depends : "Section: x", "SHA256: " + sha256].join("\\n"));
`,
  "apt-get": `
if (args.includes("download")) {
  if (fs.existsSync(tools + "/broken")) { console.error("E: broken"); process.exit(100); }
  const name = args.at(-1).split("=")[0];
  fs.writeFileSync(name + "_1%3a2.0-3_amd64.deb", name);
}
`,
  "dpkg-deb": `
if (args[0] === "-x") fs.cpSync(tools + "/trees/" + fs.readFileSync(args[1], "utf8"), args[2], { recursive: true });
`,
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-mini-"));
  home = join(directory, "home");
  const tools = join(directory, "tools");
  const put = async (path: string, contents: string | Uint8Array): Promise<void> => {
    await mkdir(dirname(join(tools, path)), { recursive: true });
    await writeFile(join(tools, path), contents);
  };
  for (const [name, body] of Object.entries(TOOLS)) {
    const head = `#!${process.execPath}\nconst fs = require("node:fs"); const args = process.argv.slice(2); const tools = __dirname;`;
    await put(name, head + body);
    await chmod(join(tools, name), 0o755);
  }
  const kernel = `trees/linux-image-${RELEASE}`;
  const modules = `${kernel}/lib/modules/${RELEASE}`;
  await put(`${kernel}/boot/vmlinuz-${RELEASE}`, bzImage());
  await put(`${modules}/modules.builtin`, "kernel/fs/ext4/ext4.ko\n");
  await put(`${modules}/kernel/virtio.ko`, moduleFile({ name: "virtio" }));
  await put(`${modules}/kernel/virtio_pci.ko`, moduleFile({ name: "virtio_pci", depends: ["virtio"] }));
  await put(`${modules}/kernel/virtio_blk.ko`, moduleFile({ name: "virtio_blk", depends: ["virtio"] }));
  await put("trees/busybox-static/bin/busybox", "busybox");
  process.env.PATH = tools;
});
afterEach(async () => {
  process.env.PATH = PATH;
  await rm(directory, { recursive: true, force: true });
});

describe("building mini", () => {
  test("packs the kernel, busybox, init and the modules, and tells what it does", async () => {
    const lines: string[] = [];
    await buildMini(home, { onProgress: (line) => lines.push(line) });
    const image = await findImage(home, "mini");
    expect(new Uint8Array(await readFile(image.kernelPath))).toEqual(bzImage());
    expect(image.manifest.append).toContain("console=ttyS0");
    expect(image.manifest.packages.map((p) => `${p.name} ${p.version}`)).toEqual([
      `linux-image-${RELEASE} 1:2.0-3`,
      "busybox-static 1:2.0-3",
    ]);
    const entries = readCpio(await readFile(image.initrdPath));
    const paths = entries.map((entry) => entry.path);
    const modules = `lib/modules/${RELEASE}`;
    expect(paths).toEqual(
      expect.arrayContaining([
        "init",
        "bin/busybox",
        "dev/console",
        `${modules}/kernel/virtio.ko`,
        `${modules}/modules.dep`,
      ]),
    );
    for (const path of paths.filter((path) => path.includes("/"))) {
      expect(paths.indexOf(dirname(path))).toBeGreaterThanOrEqual(0);
      expect(paths.indexOf(dirname(path))).toBeLessThan(paths.indexOf(path));
    }
    expect(entries.find((entry) => entry.path === "init")).toMatchObject({ kind: "file", mode: 0o755 });
    expect(lines[0]).toBe("fetching package lists");
    expect(lines.at(-1)).toContain("ready");
    expect(await readdir(join(home, "images"))).toEqual(["mini"]);
  });

  test("that fails leaves the image there was, and nothing half-made", async () => {
    await writeFile(join(directory, "tools", "broken"), "");
    await expect(buildMini(home)).rejects.toMatchObject({
      code: "VM_IMAGE_BUILD_FAILED",
      message: expect.stringContaining("E: broken"),
    });
    expect(await readdir(join(home, "images"))).toEqual([]);
    await rm(join(directory, "tools", "broken"));
    const built = await buildMini(home);
    await writeFile(join(directory, "tools", "broken"), "");
    await expect(buildMini(home)).rejects.toThrow();
    expect(await findImage(home, "mini")).toEqual(built);
  });

  test("twice at the same time is safe", async () => {
    await Promise.all([buildMini(home), buildMini(home)]);
    await findImage(home, "mini");
    expect(await readdir(join(home, "images"))).toEqual(["mini"]);
  });

  test("refuses a package that is not the one listed", async () => {
    const tool = join(directory, "tools", "apt-get");
    await writeFile(tool, (await readFile(tool, "utf8")).replace('_amd64.deb", name', '_amd64.deb", "other"'));
    await expect(buildMini(home)).rejects.toMatchObject({ code: "VM_IMAGE_BUILD_FAILED" });
  });

  test("ends when it is aborted", async () => {
    const abort = new AbortController();
    const work = buildMini(home, { signal: abort.signal, onProgress: () => abort.abort(new Error("enough")) });
    await expect(work).rejects.toThrow("enough");
    expect(await readdir(join(home, "images"))).toEqual([]);
  });

  test("without apt says how to go on", async () => {
    process.env.PATH = join(directory, "nothing");
    await expect(buildMini(home)).rejects.toMatchObject({
      code: "VM_APT_MISSING",
      hint: expect.stringContaining("vmdeck run --kernel FILE --initrd FILE"),
    });
  });
});

describe("package records", () => {
  const sha256 = "a".repeat(64);

  test("are read from the stanza of that name, with folded lines and alternatives", () => {
    const text = [
      "Package: other\nVersion: 9\nArchitecture: all\nSHA256: x",
      `Package: p\nVersion: 1:2-3\nArchitecture: amd64\nPre-Depends: dpkg\nDepends: a (>= 1), b:any | c,\n d\nSHA256: ${sha256}\nDescription: x\n Depends: no`,
    ].join("\n\n");
    expect(parsePackageRecord(text, "p")).toEqual({
      name: "p",
      version: "1:2-3",
      architecture: "amd64",
      depends: ["dpkg", "a", "b", "c", "d"],
      sha256,
    });
  });

  test.each(["", "Package: p\nVersion: 1", `Package: p\nVersion: 1\nArchitecture: amd64\nSHA256: short`])(
    "are not made up from %j",
    (text) => {
      expect(parsePackageRecord(text, "p")).toBeUndefined();
    },
  );
});
