/**
 * A first-in first-out of bytes without limit, kept in the chunks they came in: what waits for the guest at a
 * character device.
 */
export class ByteQueue {
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk already taken. */
  #taken = 0;
  #length = 0;

  /** Bytes in the queue. */
  get length(): number {
    return this.#length;
  }

  /** Appends `bytes`, which the queue keeps. */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#chunks.push(bytes);
    this.#length += bytes.length;
  }

  /** Puts `bytes` before all others. */
  unshift(bytes: Uint8Array): void {
    const first = this.#chunks.shift();
    if (first !== undefined) this.#chunks.unshift(first.subarray(this.#taken));
    this.#chunks.unshift(bytes);
    this.#length += bytes.length;
    this.#taken = 0;
  }

  /** Takes the oldest byte; undefined when there is none. */
  shift(): number | undefined {
    const first = this.#chunks[0];
    if (first === undefined) return undefined;
    const byte = first[this.#taken];
    this.#taken += 1;
    this.#length -= 1;
    if (this.#taken === first.length) {
      this.#chunks.shift();
      this.#taken = 0;
    }
    return byte;
  }

  /** All bytes, copied. */
  bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#chunks).subarray(this.#taken));
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#length = 0;
    this.#taken = 0;
  }
}
