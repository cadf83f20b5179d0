import { type ConstraintSet, setByteLength } from '../../static-trie/index.js';

/** At 20 million items a set takes some 2.5 MB. */
const MAX_BYTES = 64 * 2 ** 20;

interface EvaluatedList {
  catalogPath: string;
  set: ConstraintSet;
}

/**
 * What listed sets came to when they were last evaluated, by catalog version and list. Whether one has an item is then
 * a matter of one bit, and not of reading the list. When all weigh too much the oldest go; only an evaluation brings
 * one back, so that looking at more sets than fit does not drive out those that do.
 */
export class EvaluatedLists {
  readonly #maxBytes: number;
  /** The oldest first. */
  readonly #lists = new Map<string, EvaluatedList>();
  #byteLength = 0;

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** @param listHash SHA-256 of the list; sets of equal lists share what they came to */
  find(catalogPath: string, listHash: string): ConstraintSet | undefined {
    return this.#lists.get(keyOf(catalogPath, listHash))?.set;
  }

  keep(catalogPath: string, listHash: string, set: ConstraintSet): void {
    const key = keyOf(catalogPath, listHash);
    this.#drop(key);
    this.#lists.set(key, { catalogPath, set });
    this.#byteLength += setByteLength(set);
    for (const oldest of this.#lists.keys()) {
      if (this.#byteLength <= this.#maxBytes) break;
      this.#drop(oldest);
    }
  }

  /** Of a catalog version whose file may be another from now on. */
  forget(catalogPath: string): void {
    for (const [key, list] of this.#lists) if (list.catalogPath === catalogPath) this.#drop(key);
  }

  #drop(key: string): void {
    const list = this.#lists.get(key);
    if (list === undefined) return;
    this.#lists.delete(key);
    this.#byteLength -= setByteLength(list.set);
  }
}

function keyOf(catalogPath: string, listHash: string): string {
  return `${listHash} ${catalogPath}`;
}
