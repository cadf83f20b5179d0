interface Entry<Value> {
  value: Value;
  /** From when on it may be in force: when it was asked for. */
  sentMs: number;
  /** From when on it is in force, and nothing before it: when that was acknowledged; infinity where it was not. */
  doneMs: number;
}

/** Longer than any request takes. */
const KEPT_MS = 120_000;

/**
 * What a value in the server may have been, as its clients know it: a change is in force at some moment between its
 * request and its acknowledgement, and one that was never acknowledged may be, or may not.
 */
export class Timeline<Value> {
  #entries: Entry<Value>[];

  constructor(value: Value) {
    this.#entries = [{ value, sentMs: Number.NEGATIVE_INFINITY, doneMs: Number.NEGATIVE_INFINITY }];
  }

  /** A change is asked for. @returns to be called when it is acknowledged */
  change(value: Value, sentMs: number): (doneMs: number) => void {
    const entry = { value, sentMs, doneMs: Number.POSITIVE_INFINITY };
    const last = this.#entries.findLastIndex(({ doneMs }) => doneMs < sentMs - KEPT_MS);
    this.#entries = [...this.#entries.slice(Math.max(0, last)), entry];
    return (doneMs) => {
      entry.doneMs = doneMs;
    };
  }

  /** What was asked for last. */
  get latest(): Value {
    return this.#entries[this.#entries.length - 1].value;
  }

  /** All that it may have been at a moment between these two. */
  between(fromMs: number, toMs: number): Value[] {
    const found: Value[] = [];
    for (let index = this.#entries.length - 1; index >= 0; index--) {
      const { value, sentMs, doneMs } = this.#entries[index];
      if (sentMs <= toMs) found.push(value);
      if (doneMs < fromMs) break;
    }
    return found;
  }
}
