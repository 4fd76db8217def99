/**
 * Sizes and durations as people write them. A size needs a unit, because tools disagree on what a bare number means;
 * K, M, G are binary like KiB, MiB, GiB.
 */
import { VmError } from "../errors.js";

const SIZE_UNITS: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** The longest duration: what one host timer can hold. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/**
 * Parses "512MiB", "1.5GiB", "64K" to bytes.
 * @throws VmError VM_USAGE when the unit is missing or unknown, or the size is no positive whole number of bytes.
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?$/i.exec(text.trim());
  const [, digits, unit] = match ?? [];
  const factor = SIZE_UNITS[unit?.toLowerCase() ?? ""];
  const bytes = Number(digits) * (factor ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new VmError("VM_USAGE", `"${text}" is not a size`, {
      hint: "write a positive number with its unit: 512MiB, 2GiB (K, M and G are binary too)",
    });
  }
  return bytes;
}

/** Bytes in the largest binary unit that divides them evenly ("512MiB"). */
export function formatSize(bytes: number): string {
  for (const [unit, factor] of Object.entries(SIZE_UNITS).reverse()) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit.toUpperCase()}iB`;
  }
  return `${bytes}B`;
}

/**
 * Parses "500ms", "30s", "5m", "1h30m" to milliseconds.
 * @throws VmError VM_USAGE for anything else, zero, or more than 24 days.
 */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const covered = parts.map((part) => part[0]).join("");
  const total = parts.reduce((sum, [, digits, unit]) => sum + Number(digits) * (DURATION_UNITS_MS[unit ?? ""] ?? 0), 0);
  const milliseconds = Math.round(total);
  if (covered !== text.trim() || milliseconds <= 0 || milliseconds > MAX_DURATION_MS) {
    throw new VmError("VM_USAGE", `"${text}" is not a duration`, {
      hint: "write a number with its unit: 500ms, 30s, 5m, 1h30m (at most 24 days)",
    });
  }
  return milliseconds;
}
