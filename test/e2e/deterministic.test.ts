/**
 * A seeded machine is a function of its configuration: the same boot of Debian's kernel, with disk and entropy device,
 * run twice, is the same to the byte and to the instruction.
 */
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Vm } from "../../src/control/vm.js";
import { writeCpio } from "../../src/store/cpio.js";
import { BOOT_PATIENCE_MS } from "./guest-shell.js";
import { miniImage, TEST_HOME } from "./test-home.js";

/** Uses everything that could differ from one run to the next, and shows it. */
const SCRIPT = `#!/bin/busybox sh
export PATH=/bin:/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -qa $(cat /sys/bus/pci/devices/*/modalias)
modprobe -qa $(cat /sys/bus/virtio/devices/*/modalias)
date
head -c 256 /dev/hwrng | sha256sum
head -c 256 /dev/urandom | sha256sum
sha256sum /dev/vda
dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2>/dev/null
sha256sum /dev/vda
sleep 1
cat /proc/interrupts /proc/stat /proc/uptime
dmesg
echo the end
poweroff -f
`;
const DISK_BYTES = 2 << 20;

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmdeck-e2e-"));
  const archive = writeCpio([{ kind: "file", path: "self-test", mode: 0o755, contents: Buffer.from(SCRIPT) }], 0);
  // The kernel unpacks archives one after the other.
  const mini = await readFile((await miniImage()).initrdPath);
  await writeFile(join(directory, "initrd"), Buffer.concat([mini, archive]));
  await writeFile(join(directory, "disk"), Buffer.alloc(DISK_BYTES, 0x5a));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

async function run(name: string, seed: number) {
  const disk = join(directory, name);
  await copyFile(join(directory, "disk"), disk);
  await using vm = await Vm.run({
    image: "mini",
    home: TEST_HOME,
    initrd: join(directory, "initrd"),
    append: "rdinit=/self-test",
    memory: "256MiB",
    seed,
    disks: [disk],
    devices: ["virtio-rng"],
    timeout: BOOT_PATIENCE_MS,
  });
  const { kind, stats } = await vm.wait();
  return { kind, output: vm.serial.output, instructions: stats.instructions, disk: await readFile(disk) };
}

test("two runs with one seed are the same", async () => {
  // At the same time, so that the host treats them differently.
  const [first, second] = await Promise.all([run("first", 7), run("second", 7)]);
  expect(first.output).toContain("the end");
  expect(first.kind).toBe("powerOff");
  expect(second.output).toBe(first.output);
  expect(second.instructions).toBe(first.instructions);
  expect(second.disk.equals(first.disk)).toBe(true);
  expect(first.disk.subarray(0, 1 << 20).every((byte) => byte === 0x5a)).toBe(false);
});
