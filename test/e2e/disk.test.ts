/**
 * A system whose root is ext4 on virtio-blk: written, rebooted, read back, powered off, and then checked on the host.
 * Two boots of one VM.
 */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Vm } from "../../src/control/vm.js";
import { readCpio } from "../../src/store/cpio.js";
import { E2fsprogs } from "./e2fsprogs.js";
import { GuestShell } from "./guest-shell.js";
import { miniImage, TEST_HOME } from "./test-home.js";

const MIB = 1 << 20;
const ROOT_MIB = 64;
const SCRATCH_MIB = 8;
const PROMPT = "disk:/# ";
const INIT = `#!/bin/sh
export PATH=/bin:/sbin HOME=/ PS1='disk:\\w# '
/bin/busybox --install -s /bin
cd /
while :; do
  setsid cttyhack sh
done
`;

let directory: string;
let tools: E2fsprogs;
let root: string;
let scratch: string;
let vm: Vm;
let shell: GuestShell;
/** What `sha256sum` said in the guest of the files it wrote. */
let sums: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-e2e-"));
  tools = await E2fsprogs.find();
  root = join(directory, "root.img");
  await tools.format(root, await rootContents(), ROOT_MIB);
  scratch = join(directory, "scratch.img");
  await writeFile(scratch, Buffer.alloc(SCRATCH_MIB * MIB, 0xa5));
  vm = await Vm.run({ image: "mini", home: TEST_HOME, append: "vmdeck.root=/dev/vda", disks: [root, scratch] });
});

afterAll(async () => {
  await vm?.kill();
  await rm(directory, { recursive: true, force: true });
});

/** A directory with the files of a smallest system: the image's own busybox, and an init. */
async function rootContents(): Promise<string> {
  const contents = join(directory, "root");
  const archive = readCpio(await readFile((await miniImage()).initrdPath));
  const busybox = archive.find(({ path }) => path === "bin/busybox");
  if (busybox?.kind !== "file") throw new Error("the image has no busybox");
  for (const name of ["bin", "sbin", "data", "dev", "proc", "sys", "run"]) {
    await mkdir(join(contents, name), { recursive: true });
  }
  await writeFile(join(contents, "bin", "busybox"), busybox.contents, { mode: 0o755 });
  await symlink("busybox", join(contents, "bin", "sh"));
  await writeFile(join(contents, "sbin", "init"), INIT, { mode: 0o755 });
  return contents;
}

test("the root on the disk is mounted, and its system runs", async () => {
  shell = await GuestShell.login(vm, PROMPT);
  expect(await shell.run("grep ' / ' /proc/mounts")).toContain("/dev/vda / ext4 rw");
  expect(await shell.run("cat /sys/block/vda/size")).toBe(String((ROOT_MIB * MIB) / 512));
});

test("files are written and synced", async () => {
  await shell.run("seq 1 3000 > /known; sha256sum /known");
  await shell.run("for n in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/data/$n bs=17k count=$n 2>/dev/null; done");
  await shell.run("mkdir -p /data/deep/er && ln -s ../1 /data/deep/link && mv /data/2 /data/deep/er/two && sync");
  sums = await shell.run("find /data -type f | sort | xargs sha256sum");
  expect(sums.split("\n")).toHaveLength(8);
});

test("discards are answered, and change nothing but what they name", async () => {
  await shell.run("dd if=/dev/urandom of=/big bs=1M count=2 conv=fsync 2>/dev/null; rm /big; sync");
  expect(await shell.run("fstrim -v /")).toMatch(/trimmed/);
  await shell.run(`blkdiscard -o ${2 * MIB} -l ${3 * MIB} /dev/vdb`);
  const kept = `(dd bs=1M count=2; dd bs=1M skip=3) < /dev/vdb 2>/dev/null | sha256sum`;
  const hash = createHash("sha256")
    .update(Buffer.alloc((SCRATCH_MIB - 3) * MIB, 0xa5))
    .digest("hex");
  expect(await shell.run(kept)).toBe(`${hash}  -`);
});

test("what a flush has acknowledged is in the file on the host", async () => {
  await shell.run("echo sector | dd of=/dev/vdb bs=512 seek=6000 conv=notrunc,fsync 2>/dev/null");
  expect(await readScratch(6000 * 512, 7)).toBe("sector\n");
});

async function readScratch(position: number, length: number): Promise<string> {
  const file = await open(scratch);
  try {
    const { buffer } = await file.read({ buffer: Buffer.alloc(length), position });
    return buffer.toString("latin1");
  } finally {
    await file.close();
  }
}

test("after a reboot every file is as it was written", async () => {
  const events = vm.events();
  await shell.type("mount -o remount,ro / && reboot -f");
  shell = await GuestShell.login(vm, PROMPT);
  expect((await events.next()).value).toMatchObject({ kind: "reset" });
  expect(await shell.run("find /data -type f | sort | xargs sha256sum")).toBe(sums);
  expect(await shell.run("seq 1 3000 | cmp - /known && echo same")).toBe("same");
  expect(await shell.run("readlink /data/deep/link")).toBe("../1");
  await shell.run("echo second boot > /data/boots");
});

test("a power off ends the VM", async () => {
  await shell.type("mount -o remount,ro / && poweroff -f");
  const exit = await vm.wait();
  expect(exit.kind).toBe("powerOff");
  expect(exit.stats.resets).toBe(1);
});

test("the host finds the file system clean and the files as the guest wrote them", async () => {
  expect(await tools.check(root)).toMatch(/\d+\/\d+ files/);
  const known = Array.from({ length: 3000 }, (_, index) => `${index + 1}\n`).join("");
  expect((await tools.read(root, "/known")).toString()).toBe(known);
  expect((await tools.read(root, "/data/boots")).toString()).toBe("second boot\n");
  for (const line of sums.split("\n")) {
    const [hash, path = ""] = line.split(/\s+/);
    const contents = await tools.read(root, path);
    expect(createHash("sha256").update(contents).digest("hex")).toBe(hash);
  }
});
