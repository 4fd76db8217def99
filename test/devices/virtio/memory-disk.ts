/** A disk in memory for tests: records what is asked of it and settles only when told to, if so wished. */
import type { Disk } from "../../../src/storage/disk.js";

export class MemoryDisk implements Disk {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly id = "memory-disk";
  readonly bytes: Uint8Array;
  readonly log: string[] = [];
  /** While true, operations wait for `release`. */
  held = false;
  failing = false;
  readonly #waiting: (() => void)[] = [];

  constructor(sizeBytes: number, readOnly = false) {
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
    this.bytes = new Uint8Array(sizeBytes);
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#run(`read ${offset} ${target.length}`, () => {
      target.set(this.bytes.subarray(offset, offset + target.length));
    });
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.#run(`write ${offset} ${source.length}`, () => {
      this.bytes.set(source, offset);
    });
  }

  flush(): Promise<void> {
    return this.#run("flush", () => {});
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#run(`discard ${offset} ${length}`, () => {});
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.#run(`zero ${offset} ${length}`, () => {
      this.bytes.fill(0, offset, offset + length);
    });
  }

  async close(): Promise<void> {}

  /** Lets everything that is held go on. */
  release(): void {
    this.held = false;
    for (let go = this.#waiting.shift(); go !== undefined; go = this.#waiting.shift()) go();
  }

  async #run(what: string, work: () => void): Promise<void> {
    this.log.push(what);
    if (this.held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.failing) throw new Error("the disk is failing");
    work();
  }
}
