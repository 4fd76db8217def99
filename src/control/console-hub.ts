/**
 * The guest's serial console in the VM process: gathers the bytes of a slice, sends them to every client, keeps the
 * newest for clients that come later, and holds the guest back while the owner is behind.
 */
import type { ByteSink } from "../display/byte-sink.js";

/** Bytes kept for clients that connect later. */
const SCROLLBACK_BYTES = 64 * 1024;
/** A batch this large is sent without waiting for the end of the slice. */
const BATCH_BYTES = 64 * 1024;

/** Where a batch of console bytes goes: one client. Returns a promise while the client is behind. */
export type ConsoleListener = (bytes: Uint8Array) => Promise<void> | undefined;

export class ConsoleHub implements ByteSink {
  readonly #listeners = new Set<ConsoleListener>();
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #scheduled = false;
  #scrollback: Buffer = Buffer.alloc(0);
  readonly #behind = new Set<Promise<void>>();

  write(bytes: Uint8Array): void {
    this.#batch.push(bytes);
    this.#batchBytes += bytes.length;
    if (this.#batchBytes >= BATCH_BYTES) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.flush());
    }
  }

  /** Sends what has been gathered. */
  flush(): void {
    this.#scheduled = false;
    if (this.#batchBytes === 0) return;
    const bytes = Buffer.concat(this.#batch, this.#batchBytes);
    this.#batch = [];
    this.#batchBytes = 0;
    this.#scrollback = Buffer.from(Buffer.concat([this.#scrollback, bytes]).subarray(-SCROLLBACK_BYTES));
    for (const listener of this.#listeners) {
      const drained = listener(bytes);
      if (drained === undefined) continue;
      this.#behind.add(drained);
      drained.finally(() => this.#behind.delete(drained));
    }
  }

  /** Adds a client: it gets the scrollback now and everything from here on. Returns what removes it. */
  attach(listener: ConsoleListener): () => void {
    this.flush();
    if (this.#scrollback.length > 0) listener(this.#scrollback);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A promise while some client that must not lose bytes is behind. */
  backlog(): Promise<void> | undefined {
    for (const drained of this.#behind) return drained;
    return undefined;
  }
}
