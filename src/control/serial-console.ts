/**
 * The client's end of a guest serial console: what the guest wrote, waiting for text, writing back.
 */
import { VmError } from "../errors.js";
import { AsyncQueue } from "./async-queue.js";

/** Output kept for `output` and `waitFor`, in characters; older output is forgotten. */
const TRANSCRIPT_CHARACTERS = 8 * 1024 * 1024;
/** Output kept for the first iterator, in bytes, until there is one. */
const EARLY_BYTES = 8 * 1024 * 1024;
/** An iterator that is this many chunks behind holds the guest back. */
const MAX_CHUNKS_BEHIND = 256;
/** How much of the output a failed wait shows. */
const TAIL_CHARACTERS = 400;

export interface WaitOptions {
  /** Milliseconds to wait at most; 60,000 unless given. */
  readonly timeoutMs?: number;
}

interface Waiter {
  readonly pattern: RegExp;
  resolve(match: RegExpExecArray): void;
  reject(error: VmError): void;
}

/** What the console needs of its connection. */
export interface ConsoleLink {
  send(bytes: Uint8Array): Promise<void>;
  /** Stops or goes on taking output. */
  hold(stopped: boolean): void;
}

export class SerialConsole {
  readonly #link: ConsoleLink;
  readonly #decoder = new TextDecoder();
  readonly #readers = new Set<AsyncQueue<Uint8Array>>();
  readonly #depths = new Map<AsyncQueue<Uint8Array>, number>();
  /** What came before the first iterator; undefined from then on. */
  #early: Uint8Array[] | undefined = [];
  #earlyBytes = 0;
  #waiters: Waiter[] = [];
  #transcript = "";
  /** Where in the transcript the next `waitFor` starts to look. */
  #mark = 0;
  #ended = false;

  /** Made by `Vm`. */
  constructor(link: ConsoleLink) {
    this.#link = link;
  }

  /** Everything the guest has written so far, as UTF-8 text (the newest 8 Mi characters of it). */
  get output(): string {
    return this.#transcript;
  }

  /** Types text (as UTF-8) or bytes into the guest. Resolves when the guest keeps up; after the end, does nothing. */
  write(data: string | Uint8Array): Promise<void> {
    return this.#link.send(typeof data === "string" ? Buffer.from(data, "utf8") : data);
  }

  /**
   * Waits until the output matches `pattern`, and returns the match. Each wait looks only at what came after the match
   * of the one before, so that a sequence of waits follows a dialogue.
   * @throws VmError VM_TIMEOUT when it does not appear in time, VM_WRONG_STATE when the VM ends first.
   */
  waitFor(pattern: RegExp | string, options: WaitOptions = {}): Promise<RegExpExecArray> {
    const timeoutMs = options.timeoutMs ?? 60_000;
    const regex = typeof pattern === "string" ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")) : pattern;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(this.#failure("VM_TIMEOUT", `${regex} did not appear within ${timeoutMs} ms`));
        // Those behind it have waited for their turn, not only for their text.
        this.#match();
      }, timeoutMs);
      const waiter: Waiter = {
        // Without "g" and "y", exec keeps no position of its own.
        pattern: new RegExp(regex.source, regex.flags.replace(/[gy]/g, "")),
        resolve: (match) => {
          clearTimeout(timer);
          resolve(match);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.push(waiter);
      this.#match();
      if (this.#ended) this.#rejectAll();
    });
  }

  /**
   * The output as bytes, chunk by chunk, until the VM ends. The first iteration begins with the guest's first byte (or
   * the newest 8 MiB), a later one with what comes from then on. A reader that stops taking chunks holds the guest
   * back; one that leaves its loop does not.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    const reader: AsyncQueue<Uint8Array> = new AsyncQueue((depth) => this.#depth(reader, depth));
    const early = this.#early ?? [];
    this.#early = undefined;
    this.#readers.add(reader);
    for (const chunk of early) reader.push(chunk);
    if (this.#ended) reader.close();
    return reader;
  }

  /** Called by `Vm` with what the guest wrote. */
  receive(bytes: Uint8Array): void {
    for (const reader of this.#readers) reader.push(bytes);
    this.#keepEarly(bytes);
    this.#append(this.#decoder.decode(bytes, { stream: true }));
  }

  /** Called by `Vm` when no more output can come. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#append(this.#decoder.decode());
    for (const reader of this.#readers) reader.close();
    this.#rejectAll();
  }

  #keepEarly(bytes: Uint8Array): void {
    if (this.#early === undefined) return;
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    while (this.#earlyBytes > EARLY_BYTES) this.#earlyBytes -= this.#early.shift()?.length ?? 0;
  }

  #append(text: string): void {
    this.#transcript += text;
    const excess = this.#transcript.length - TRANSCRIPT_CHARACTERS;
    if (excess > 0) {
      // Half at once, so that a talkative guest does not copy it all at every chunk.
      const cut = excess + TRANSCRIPT_CHARACTERS / 2;
      this.#transcript = this.#transcript.slice(cut);
      this.#mark = Math.max(0, this.#mark - cut);
    }
    this.#match();
  }

  #match(): void {
    for (let waiter = this.#waiters[0]; waiter !== undefined; waiter = this.#waiters[0]) {
      const match = waiter.pattern.exec(this.#transcript.slice(this.#mark));
      if (match === null) return;
      this.#mark += match.index + match[0].length;
      this.#waiters.shift();
      waiter.resolve(match);
    }
  }

  #rejectAll(): void {
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(this.#failure("VM_WRONG_STATE", `the VM ended before ${waiter.pattern} appeared`));
    }
  }

  #failure(code: "VM_TIMEOUT" | "VM_WRONG_STATE", message: string): VmError {
    const tail = JSON.stringify(this.#transcript.slice(-TAIL_CHARACTERS));
    return new VmError(code, `${message}; the output ends with ${tail}`, { hint: "look at vm.serial.output" });
  }

  #depth(reader: AsyncQueue<Uint8Array>, depth: number): void {
    if (reader.closed) {
      this.#readers.delete(reader);
      this.#depths.delete(reader);
    } else {
      this.#depths.set(reader, depth);
    }
    this.#link.hold([...this.#depths.values()].some((behind) => behind > MAX_CHUNKS_BEHIND));
  }
}
