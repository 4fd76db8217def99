/**
 * A queue that one side fills and the other iterates with `for await`. Its size is the producer's business: `onDepth`
 * tells it how much waits, so that it can stop its source.
 */

export class AsyncQueue<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((result: IteratorResult<T>) => void)[] = [];
  readonly #onDepth: (items: number) => void;
  #closed = false;

  constructor(onDepth: (items: number) => void = () => {}) {
    this.#onDepth = onDepth;
  }

  get closed(): boolean {
    return this.#closed;
  }

  push(item: T): void {
    if (this.#closed) return;
    const reader = this.#waiting.shift();
    if (reader === undefined) this.#items.push(item);
    else reader({ done: false, value: item });
    this.#onDepth(this.#items.length);
  }

  /** Ends the iteration after what is queued. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#waiting.splice(0)) reader({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<T>> {
    const item = this.#items.shift();
    if (item !== undefined) {
      this.#onDepth(this.#items.length);
      return Promise.resolve({ done: false, value: item });
    }
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The reader is done: nothing more is queued. */
  return(): Promise<IteratorResult<T>> {
    this.#items.length = 0;
    this.close();
    this.#onDepth(0);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
