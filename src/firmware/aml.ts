/**
 * Encodes ACPI Machine Language: the terms our DSDT is made of, one function each, every one returning its bytes
 * (ACPI 6.5, section 20.2; resource descriptors: section 6.4). Terms our tables have no use for are left out.
 */
import { invariant } from "../errors.js";

/** Encoded AML. */
export type Aml = Uint8Array;

/** Where methods keep things: `arg0`..`arg6`, `local0`..`local7` (20.2.6). */
export const arg = (index: 0 | 1 | 2 | 3 | 4 | 5 | 6): Aml => Uint8Array.of(0x68 + index);
export const local = (index: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7): Aml => Uint8Array.of(0x60 + index);

/** An unsigned integer below 2^53 in its shortest form. */
export function integer(value: number): Aml {
  invariant(Number.isSafeInteger(value) && value >= 0, "AML integers are unsigned");
  if (value <= 1) return Uint8Array.of(value);
  if (value <= 0xff) return Uint8Array.of(0x0a, value);
  if (value <= 0xffff) return concat(Uint8Array.of(0x0b), u16(value));
  if (value <= 0xffff_ffff) return concat(Uint8Array.of(0x0c), u32(value));
  return concat(Uint8Array.of(0x0e), u64(value));
}

/** An ASCII string. */
export function text(value: string): Aml {
  return concat(Uint8Array.of(0x0d), new TextEncoder().encode(value), Uint8Array.of(0));
}

/** A compressed EISA identifier such as "PNP0A03" (19.3.4): three letters, four hexadecimal digits. */
export function eisaId(id: string): Aml {
  invariant(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `${id} is an EISA identifier`);
  const letter = (index: number): number => id.charCodeAt(index) - 0x40;
  const product = Number.parseInt(id.slice(3), 16);
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  return Uint8Array.of(0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

/** A UUID as a buffer, its first three fields little-endian (19.6.142). */
export function uuid(value: string): Aml {
  const digits = value.replaceAll("-", "");
  invariant(/^[0-9a-fA-F]{32}$/.test(digits), `${value} is a UUID`);
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return buffer(Uint8Array.from(order, (at) => Number.parseInt(digits.slice(at * 2, at * 2 + 2), 16)));
}

export function buffer(bytes: Uint8Array): Aml {
  return concat(Uint8Array.of(0x11), withLength(concat(integer(bytes.length), bytes)));
}

/** A package of at most 255 elements. */
export function pack(...elements: readonly Aml[]): Aml {
  invariant(elements.length <= 255, "larger packages need VarPackageOp");
  return concat(Uint8Array.of(0x12), withLength(concat(Uint8Array.of(elements.length), ...elements)));
}

/** A name as an operand, such as "\\_SB_.PCI0" or "CDW1"; segments are padded to four characters. */
export function path(name: string): Aml {
  const absolute = name.startsWith("\\");
  const segments = (absolute ? name.slice(1) : name).split(".").map((segment) => {
    invariant(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), `${segment} is an ACPI name`);
    return new TextEncoder().encode(segment.padEnd(4, "_"));
  });
  const prefix = segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  return concat(Uint8Array.from([...(absolute ? [0x5c] : []), ...prefix]), ...segments);
}

export function name(called: string, value: Aml): Aml {
  return concat(Uint8Array.of(0x08), path(called), value);
}

export function scope(of: string, ...terms: readonly Aml[]): Aml {
  return concat(Uint8Array.of(0x10), withLength(concat(path(of), ...terms)));
}

export function device(called: string, ...terms: readonly Aml[]): Aml {
  return concat(Uint8Array.of(0x5b, 0x82), withLength(concat(path(called), ...terms)));
}

/** A serialized method: only one thread at a time runs it, so it may create names. */
export function method(called: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  const SERIALIZED = 0x08;
  return concat(
    Uint8Array.of(0x14),
    withLength(concat(path(called), Uint8Array.of(argumentCount | SERIALIZED), ...terms)),
  );
}

export function when(predicate: Aml, ...terms: readonly Aml[]): Aml {
  return concat(Uint8Array.of(0xa0), withLength(concat(predicate, ...terms)));
}

/** What follows directly behind `when`, for the case that its predicate is false. */
export function otherwise(...terms: readonly Aml[]): Aml {
  return concat(Uint8Array.of(0xa1), withLength(concat(...terms)));
}

export const equal = (a: Aml, b: Aml): Aml => concat(Uint8Array.of(0x93), a, b);
export const not = (a: Aml): Aml => concat(Uint8Array.of(0x92), a);
export const store = (value: Aml, target: Aml): Aml => concat(Uint8Array.of(0x70), value, target);
/** Bitwise, the result stored in `target`. */
export const and = (a: Aml, b: Aml, target: Aml): Aml => concat(Uint8Array.of(0x7b), a, b, target);
export const or = (a: Aml, b: Aml, target: Aml): Aml => concat(Uint8Array.of(0x7d), a, b, target);
export const returns = (value: Aml): Aml => concat(Uint8Array.of(0xa4), value);
/** Names the doubleword at byte `offset` of a buffer. */
export const createDwordField = (source: Aml, offset: number, called: string): Aml =>
  concat(Uint8Array.of(0x8a), source, integer(offset), path(called));

/** A resource template: descriptors and the end tag, without a checksum (6.4.2.9). */
export function resources(...descriptors: readonly Uint8Array[]): Aml {
  return buffer(concat(...descriptors, Uint8Array.of(0x79, 0)));
}

/** `length` ports from `first`, 16 bits decoded (6.4.2.5). */
export function ports(first: number, length: number): Uint8Array {
  return concat(Uint8Array.of(0x47, 1), u16(first), u16(first), Uint8Array.of(1, length));
}

/** An edge-triggered, active-high, exclusive ISA interrupt (6.4.2.1). */
export function isaInterrupt(irq: number): Uint8Array {
  return concat(Uint8Array.of(0x22), u16(1 << irq));
}

/** A fixed, writable range of memory (6.4.3.4). */
export function fixedMemory(base: number, length: number): Uint8Array {
  return concat(Uint8Array.of(0x86, 9, 0, 1), u32(base), u32(length));
}

const PRODUCER_FIXED = 0x0c;

/** Bus numbers a bridge produces, both inclusive (6.4.3.5.3). */
export function busWindow(first: number, last: number): Uint8Array {
  return concat(Uint8Array.of(0x88, 13, 0, 2, PRODUCER_FIXED, 0), wordRange(first, last));
}

/** Ports a bridge passes on, both inclusive. */
export function portWindow(first: number, last: number): Uint8Array {
  const ENTIRE_RANGE = 3;
  return concat(Uint8Array.of(0x88, 13, 0, 1, PRODUCER_FIXED, ENTIRE_RANGE), wordRange(first, last));
}

/** Non-cacheable, writable memory a bridge passes on, below 4 GiB, both inclusive (6.4.3.5.2). */
export function memoryWindow(first: number, last: number): Uint8Array {
  const head = Uint8Array.of(0x87, 23, 0, 0, PRODUCER_FIXED, 1);
  return concat(head, u32(0), u32(first), u32(last), u32(0), u32(last - first + 1));
}

function wordRange(first: number, last: number): Uint8Array {
  return concat(u16(0), u16(first), u16(last), u16(0), u16(last - first + 1));
}

/** Puts PkgLength in front of a body; the length counts its own bytes (20.2.4). */
function withLength(body: Uint8Array): Uint8Array {
  if (body.length + 1 < 0x40) return concat(Uint8Array.of(body.length + 1), body);
  for (let extra = 1; extra <= 3; extra++) {
    const total = body.length + 1 + extra;
    if (total >= 2 ** (4 + 8 * extra)) continue;
    const high = Array.from({ length: extra }, (_, index) => (total >> (4 + 8 * index)) & 0xff);
    return concat(Uint8Array.of((extra << 6) | (total & 0xf), ...high), body);
  }
  invariant(false, "AML packages are below 256 MiB");
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >> 8) & 0xff);
}

export function u32(value: number): Uint8Array {
  return concat(u16(value & 0xffff), u16(value >>> 16));
}

export function u64(value: number): Uint8Array {
  return concat(u32(value % 2 ** 32), u32(Math.floor(value / 2 ** 32)));
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
