import { describe, expect, it } from "vitest";
import { encodeBytes, SavedState } from "../../src/devices/saved-state.js";

const INVALID = expect.objectContaining({ code: "VM_CONFIG_INVALID" });

describe("SavedState", () => {
  const state = {
    version: 3,
    count: 5,
    ready: true,
    label: "x",
    none: null,
    bytes: encodeBytes(Uint8Array.of(0, 127, 255)),
    list: [1, 2, 3],
    part: { inner: 7 },
    parts: [{ inner: 8 }, { inner: 9 }],
  };
  const saved = new SavedState("chip", state, 3);

  it("reads each field as what it is", () => {
    expect([saved.number("count"), saved.integer("count", 0, 5), saved.boolean("ready")]).toEqual([5, 5, true]);
    expect([saved.string("label"), saved.optionalNumber("none"), saved.optionalNumber("count")]).toEqual([
      "x",
      undefined,
      5,
    ]);
    expect(Array.from(saved.bytes("bytes", 3))).toEqual([0, 127, 255]);
    expect(saved.numbers("list", 3)).toEqual([1, 2, 3]);
    expect(saved.part("part").number("inner")).toBe(7);
    expect(saved.parts("parts", 2).map((part) => part.number("inner"))).toEqual([8, 9]);
  });

  it("refuses another version, naming the device", () => {
    expect(() => new SavedState("chip", state, 4)).toThrow(INVALID);
    expect(() => new SavedState("chip", state, 4)).toThrow(/chip/);
  });

  it("refuses what is missing, of another type, out of range or of another length", () => {
    const wrong = [
      () => saved.number("absent"),
      () => saved.number("label"),
      () => saved.integer("count", 6, 9),
      () => saved.boolean("count"),
      () => saved.string("ready"),
      () => saved.bytes("bytes", 4),
      () => saved.numbers("list", 2),
      () => saved.numbers("parts", 2),
      () => saved.part("list"),
      () => saved.part("none"),
      () => saved.parts("list", 3),
      () => saved.part("part").number("count"),
    ];
    for (const read of wrong) expect(read).toThrow(INVALID);
  });
});
