/**
 * What the `mini` guest runs besides Debian's kernel and busybox: our own init and the few files around it. init mounts
 * what a shell needs, loads the drivers of the devices it finds, and keeps a root shell on the console, and ends the machine. With
 * `vmdeck.root=DEVICE` on the kernel's command line it hands over to the system on that disk instead.
 */
import type { CpioEntry } from "./cpio.js";

const INIT = `#!/bin/sh
# First process of the mini guest.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
busybox mount -t proc -o nosuid,noexec,nodev proc /proc
busybox --install -s 2>/dev/null
mount -t sysfs -o nosuid,noexec,nodev sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=0620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
mount -t tmpfs -o nosuid,nodev tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
hostname -F /etc/hostname
ip link set lo up

# Drivers of what is there; the second round sees the virtio devices that the first one's drivers brought up.
modprobe -qa $(cat /sys/bus/acpi/devices/*/modalias /sys/bus/pci/devices/*/modalias 2>/dev/null)
modprobe -qa $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)

root=
for word in $(cat /proc/cmdline); do
  case $word in
    vmdeck.root=*) root=\${word#vmdeck.root=} ;;
  esac
done
if [ -n "$root" ]; then
  mkdir -p /sysroot
  tries=0
  while [ ! -b "$root" ] && [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    usleep 100000
  done
  if mount "$root" /sysroot; then
    for tree in dev proc sys run; do
      mkdir -p /sysroot/$tree && mount -o move /$tree /sysroot/$tree
    done
    exec switch_root /sysroot /sbin/init
  fi
  echo "init: $root cannot be mounted"
fi

# What busybox's poweroff, halt and reboot send to the first process.
finish() {
  kill -TERM -1
  usleep 100000
  kill -KILL -1
  umount -a -r 2>/dev/null
  busybox "$1" -f
}
trap 'finish poweroff' USR1 USR2
trap 'finish reboot' TERM

cat /etc/motd
cd /root
while :; do
  # In the background, as a trap waits for what runs in the foreground.
  setsid cttyhack sh -l &
  wait $! || usleep 200000
done
`;

const PROFILE = `export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PS1='mini:\\w# '
`;

/** Every file of the initramfs but busybox and the modules; directories first. */
export function miniFiles(kernelRelease: string): CpioEntry[] {
  const directories = [
    "bin",
    "dev",
    "etc",
    "mnt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/sbin",
    "var",
  ];
  const motd = `\nvmdeck mini: Linux ${kernelRelease} and busybox. "poweroff" ends the machine.\n\n`;
  return [
    ...directories.map((path): CpioEntry => ({ kind: "directory", path, mode: path === "root" ? 0o700 : 0o755 })),
    // The kernel opens these before init can mount anything.
    { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "character-device", path: "dev/null", mode: 0o666, major: 1, minor: 3 },
    { kind: "symlink", path: "bin/sh", target: "busybox" },
    { kind: "symlink", path: "etc/mtab", target: "/proc/mounts" },
    textFile("init", INIT, 0o755),
    textFile("etc/hostname", "mini\n"),
    textFile("etc/hosts", "127.0.0.1 localhost mini\n"),
    textFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    textFile("etc/group", "root:x:0:\ntty:x:5:\n"),
    textFile("etc/profile", PROFILE),
    textFile("etc/motd", motd),
  ];
}

function textFile(path: string, contents: string, mode = 0o644): CpioEntry {
  return { kind: "file", path, mode, contents: new TextEncoder().encode(contents) };
}
