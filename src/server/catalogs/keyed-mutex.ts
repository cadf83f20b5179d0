/** Runs tasks of the same key one after the other, in the order in which they came. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  run<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(task, task);
    // Kept without its value, and dropped when nothing follows.
    const tail: Promise<void> = result.then(
      () => this.#drop(key, tail),
      () => this.#drop(key, tail),
    );
    this.#tails.set(key, tail);
    return result;
  }

  #drop(key: string, tail: Promise<unknown>): void {
    if (this.#tails.get(key) === tail) this.#tails.delete(key);
  }
}
