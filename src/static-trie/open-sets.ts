import { type ConstraintSet, setByteLength } from './constraint-set.js';

/** A set that somebody uses; `release` gives it back, once. */
export interface SetLease {
  readonly set: ConstraintSet;
  release(): void;
}

interface OpenSet {
  set: ConstraintSet;
  users: number;
}

/**
 * The sets that are open, each once however many use it. A set goes when its last user releases it: what is
 * in use is never taken away, and what is not holds no memory.
 */
export class OpenSets {
  readonly #sets = new Map<string, OpenSet>();
  #byteLength = 0;

  /** @param open is called when nobody has the set open; what it throws leaves everything as it was */
  acquire(name: string, open: () => ConstraintSet): SetLease {
    let entry = this.#sets.get(name);
    if (entry === undefined) {
      entry = { set: open(), users: 0 };
      this.#sets.set(name, entry);
      this.#byteLength += setByteLength(entry.set);
    }
    entry.users++;
    return this.#lease(name, entry);
  }

  get count(): number {
    return this.#sets.size;
  }

  /** Bytes of all bitmaps that are open. */
  get byteLength(): number {
    return this.#byteLength;
  }

  #lease(name: string, entry: OpenSet): SetLease {
    let isReleased = false;
    return {
      set: entry.set,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        if (--entry.users > 0) return;
        this.#sets.delete(name);
        this.#byteLength -= setByteLength(entry.set);
      },
    };
  }
}
