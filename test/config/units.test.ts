import { expect, test } from "vitest";
import { formatSize, parseDuration, parseSize } from "../../src/config/units.js";
import { VmError } from "../../src/errors.js";

const MIB = 2 ** 20;

test.each([
  ["512MiB", 512 * MIB],
  ["512M", 512 * MIB],
  ["512mb", 512 * MIB],
  ["2GiB", 2048 * MIB],
  ["1.5g", 1536 * MIB],
  ["64 K", 65_536],
  ["1TiB", 2 ** 40],
])("%s is %i bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["512", "", "MiB", "-1MiB", "0MiB", "1.0000001K", "1e3M", "0x10M", "1MiBs", "99999999999T", "1 M B", "NaNM"])(
  "%j is no size",
  (text) => {
    expect(() => parseSize(text)).toThrow(VmError);
    expect(() => parseSize(text)).toThrow("is not a size");
  },
);

test.each([512 * MIB, 3 * 2 ** 30, 1536 * 2 ** 10, 2 ** 40])("a formatted size reads back: %i", (bytes) => {
  expect(parseSize(formatSize(bytes))).toBe(bytes);
});

test.each([
  ["500ms", 500],
  ["30s", 30_000],
  ["5m", 300_000],
  ["1h30m", 5_400_000],
  ["1.5s", 1500],
  ["1m500ms", 60_500],
])("%s is %i milliseconds", (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

test.each(["30", "", "s", "-1s", "0s", "1d", "1s ago", "1h 30m", "1000h", "1e3s", "0.1ms"])(
  "%j is no duration",
  (text) => {
    expect(() => parseDuration(text)).toThrow("is not a duration");
  },
);
