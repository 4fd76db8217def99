/**
 * A file as the far end of a character device: what the guest writes is appended in order, off the main thread's time.
 */
import { type FileHandle, open, rm } from "node:fs/promises";
import type { ByteSink } from "../display/byte-sink.js";
import { VmError } from "../errors.js";

/** The guest waits while more than this is on its way to the file. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

export class FileSink implements ByteSink {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #onTrouble: (message: string) => void;
  readonly #created: boolean;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #failed = false;

  private constructor(file: FileHandle, path: string, created: boolean, onTrouble: (message: string) => void) {
    this.#file = file;
    this.#path = path;
    this.#created = created;
    this.#onTrouble = onTrouble;
  }

  /**
   * Creates or empties the file at `path`. `onTrouble` is told once if it cannot be written later on; output is then lost.
   * @throws VmError VM_FILE_UNREADABLE.
   */
  static async open(path: string, onTrouble: (message: string) => void): Promise<FileSink> {
    try {
      const created = await open(path, "wx").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "EEXIST") return undefined;
        throw error;
      });
      const file = created ?? (await open(path, "w"));
      return new FileSink(file, path, created !== undefined, onTrouble);
    } catch (cause) {
      throw new VmError("VM_FILE_UNREADABLE", `${path} cannot be written: ${(cause as Error).message}`, {
        cause,
        hint: "choose a file in a directory that exists and that you may write to",
      });
    }
  }

  write(bytes: Uint8Array): void {
    if (this.#failed) return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#writing ??= this.#drain();
  }

  /** A promise while the file is far behind. */
  backlog(): Promise<void> | undefined {
    return this.#queuedBytes > MAX_QUEUED_BYTES ? this.#writing : undefined;
  }

  /** Writes what is queued and closes the file. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  /** Closes the file, and removes it if it was created here: the machine never ran. */
  async abandon(): Promise<void> {
    await this.close();
    if (this.#created) await rm(this.#path, { force: true });
  }

  async #drain(): Promise<void> {
    // The rest of this slice's bytes gathers meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const batch = Buffer.concat(this.#queue);
      this.#queue = [];
      try {
        await this.#file.appendFile(batch);
      } catch (error) {
        this.#failed = true;
        this.#queue = [];
        this.#onTrouble(`${this.#path} cannot be written any more: ${(error as Error).message}`);
      }
      this.#queuedBytes = this.#failed ? 0 : this.#queuedBytes - batch.length;
    }
    this.#writing = undefined;
  }
}
