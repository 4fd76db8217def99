/**
 * The configuration of one VM: shape, defaults and checks, declared once. Types are inferred from here.
 * Sizes are bytes, durations milliseconds; text with units is parsed in `units.ts` before it gets here.
 */
import { z } from "zod";

export const MIB = 1024 * 1024;

const fileBoot = z.strictObject({
  kind: z.literal("linux"),
  /** Absolute path of a bzImage, or of an ELF kernel with a PVH note. */
  kernel: z.string().min(1),
  initrd: z.string().min(1).optional(),
  /** Kernel command line. */
  append: z.string().max(2047).default(""),
});

export const cpuSchema = z.strictObject({
  model: z.string().default("x86-64-v2@1"),
  /** CPUID vendor, exactly 12 ASCII characters. */
  vendor: z
    .string()
    .regex(/^[\x20-\x7e]{12}$/, "a CPUID vendor has exactly 12 ASCII characters")
    .default("GenuineIntel"),
  features: z.array(z.strictObject({ name: z.string().regex(/^[a-z0-9_.]+$/), enabled: z.boolean() })).default([]),
});

export const diskSchema = z.strictObject({
  path: z.string().min(1),
  format: z.literal("raw").default("raw"),
  readOnly: z.boolean().default(false),
});

export const serialSchema = z.discriminatedUnion("kind", [
  /** Bytes go to and come from the control socket's console stream. */
  z.strictObject({ kind: z.literal("stdio") }),
  z.strictObject({ kind: z.literal("none") }),
  z.strictObject({ kind: z.literal("file"), path: z.string().min(1) }),
]);

export const deviceSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]+$/),
  options: z.record(z.string(), z.string()).default({}),
});

export const vmConfigSchema = z.strictObject({
  version: z.literal(1).default(1),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/)
    .optional(),
  memoryBytes: z
    .number()
    .int()
    .min(16 * MIB, "a machine has at least 16MiB of RAM")
    .max(1024 * 1024 * MIB, "a machine has at most 1TiB of RAM")
    .multipleOf(4096, "RAM is a multiple of 4KiB")
    .default(512 * MIB),
  cpus: z.literal(1).default(1),
  cpu: cpuSchema.prefault({}),
  engine: z.enum(["interp"]).default("interp"),
  boot: fileBoot,
  disks: z.array(diskSchema).max(16).default([]),
  serial: serialSchema.default({ kind: "stdio" }),
  devices: z.array(deviceSchema).max(32).default([]),
  /** With a seed the machine is deterministic: one clock piece, seeded randomness, fixed wall clock. */
  seed: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).optional(),
  /** What a guest reset does. */
  onReset: z.enum(["restart", "exit"]).default("restart"),
});

/** A checked configuration. */
export type VmConfig = z.infer<typeof vmConfigSchema>;
/** What callers may write: everything with a default may be left out. */
export type VmConfigInput = z.input<typeof vmConfigSchema>;
