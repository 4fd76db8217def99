/**
 * Reads a device's saved state with its shape checked: a state may come from a file, so what is missing or of the
 * wrong type is the user's error (VM_CONFIG_INVALID), named by device and key, never a crash later.
 */
import { VmError } from "../errors.js";
import type { DeviceState, StateValue } from "./device.js";

/** Bytes as they stand in saved state. */
export function encodeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

export class SavedState {
  readonly #device: string;
  readonly #fields: { readonly [key: string]: StateValue };

  /** Opens `state`; throws VM_CONFIG_INVALID unless its version is `version`. */
  constructor(device: string, state: DeviceState, version: number) {
    this.#device = device;
    this.#fields = state;
    if (state.version !== version) {
      throw new VmError("VM_CONFIG_INVALID", `saved state of ${device} has version ${state.version}, not ${version}`, {
        hint: "resume the machine with the release that saved it",
      });
    }
  }

  /** A finite number. */
  number(key: string): number {
    const value = this.#fields[key];
    return typeof value === "number" && Number.isFinite(value) ? value : this.#refuse(key, "a number");
  }

  /** An integer in minimum..maximum. */
  integer(key: string, minimum: number, maximum: number): number {
    const value = this.#fields[key];
    const fits = typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum;
    return fits ? value : this.#refuse(key, `an integer in ${minimum}..${maximum}`);
  }

  /** A number, or undefined where the state says null. */
  optionalNumber(key: string): number | undefined {
    return this.#fields[key] === null ? undefined : this.number(key);
  }

  boolean(key: string): boolean {
    const value = this.#fields[key];
    return typeof value === "boolean" ? value : this.#refuse(key, "true or false");
  }

  string(key: string): string {
    const value = this.#fields[key];
    return typeof value === "string" ? value : this.#refuse(key, "a string");
  }

  /** Bytes, of exactly `length` where that is given. */
  bytes(key: string, length?: number): Uint8Array {
    const bytes = new Uint8Array(Buffer.from(this.string(key), "base64"));
    return length === undefined || bytes.length === length ? bytes : this.#refuse(key, `${length} bytes in base64`);
  }

  /** Numbers, exactly `length` of them. */
  numbers(key: string, length: number): number[] {
    const value = this.#fields[key];
    if (!Array.isArray(value) || value.length !== length) return this.#refuse(key, `${length} numbers`);
    return value.map((item: StateValue) => (typeof item === "number" ? item : this.#refuse(key, "numbers")));
  }

  /** Parts saved as objects of their own, exactly `length` of them. */
  parts(key: string, length: number): SavedState[] {
    const value = this.#fields[key];
    if (!Array.isArray(value) || value.length !== length) return this.#refuse(key, `${length} parts`);
    return value.map((item: StateValue, index) => this.#part(`${key}[${index}]`, item));
  }

  /** A part saved as an object of its own. */
  part(key: string): SavedState {
    return this.#part(key, this.#fields[key] ?? null);
  }

  #part(key: string, value: StateValue): SavedState {
    if (!isObject(value)) return this.#refuse(key, "an object");
    return new SavedState(`${this.#device} ${key}`, { ...value, version: 0 }, 0);
  }

  #refuse(key: string, wanted: string): never {
    throw new VmError("VM_CONFIG_INVALID", `saved state of ${this.#device}: ${key} is not ${wanted}`, {
      hint: "the saved state is damaged or was made by another program",
    });
  }
}

function isObject(value: StateValue): value is { readonly [key: string]: StateValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
