import { clearBit } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import { type ConstraintSet, constraintSetOfAll, patchSet } from './constraint-set.js';

/** Removals that a request takes as exclusions; beyond them they are folded into the set that it asks for. */
const MAX_PENDING_REMOVALS = 256;

/** What a request decodes under: a set, and items that it must not get beside its own exclusions. */
export interface EffectiveSet {
  /** null: all items. */
  set: ConstraintSet | null;
  /** Item numbers in any order. */
  excluded: readonly number[];
}

/** Items in the order of their removal. Those who share a list each know it up to their own count. */
class RemovalList {
  readonly items: number[] = [];
  readonly positions = new Map<number, number>();

  add(item: number): void {
    this.positions.set(item, this.items.push(item) - 1);
  }
}

/** The items that were removed since a version was built; immutable. */
export class RemovedItems {
  readonly #list: RemovalList;
  readonly count: number;

  private constructor(list: RemovalList, count: number) {
    this.#list = list;
    this.count = count;
  }

  static none(): RemovedItems {
    return new RemovedItems(new RemovalList(), 0);
  }

  has(item: number): boolean {
    return (this.#list.positions.get(item) ?? this.count) < this.count;
  }

  /** Clears the bits of removed items. @param itemBits one bit an item */
  clearFrom(itemBits: Uint32Array): void {
    for (let index = 0; index < this.count; index++) clearBit(itemBits, this.#list.items[index]);
  }

  /** @param items that are not removed yet, each once */
  with(items: Iterable<number>): RemovedItems {
    // Somebody else may have gone on from here: then the list is theirs, and this one begins a copy.
    const list = this.#list.items.length === this.count ? this.#list : this.#copyList();
    for (const item of items) list.add(item);
    return new RemovedItems(list, list.items.length);
  }

  /**
   * Takes the removed items out of a set: the latest as exclusions; many at once by folding them in, which later
   * requests find done.
   * @param set null is the set of all items
   */
  takenOutOf(set: ConstraintSet | null, version: CatalogVersion): EffectiveSet {
    const fold = this.#foldOf(set);
    const base = fold?.set ?? set;
    const pending = this.#list.items.slice(fold?.count ?? 0, this.count);
    if (pending.length <= MAX_PENDING_REMOVALS) return { set: base, excluded: pending };
    const { trie, leafItems } = version;
    const removed = new Map(pending.map((item) => [item, false]));
    const folded = patchSet(trie, leafItems, base ?? constraintSetOfAll(trie, leafItems), removed);
    folds.set(set ?? this.#list, { set: folded, list: this.#list, count: this.count });
    return { set: folded, excluded: [] };
  }

  /** What the last fold has made of a set; null where there was none. */
  foldOf(set: ConstraintSet | null): ConstraintSet | null {
    return this.#foldOf(set)?.set ?? null;
  }

  #foldOf(set: ConstraintSet | null): Fold | undefined {
    const fold = folds.get(set ?? this.#list);
    return fold?.list === this.#list && fold.count <= this.count ? fold : undefined;
  }

  #copyList(): RemovalList {
    const copy = new RemovalList();
    for (const item of this.#list.items.slice(0, this.count)) copy.add(item);
    return copy;
  }
}

/** A set without the first `count` items of a list. */
interface Fold {
  set: ConstraintSet;
  list: RemovalList;
  count: number;
}

/** For each set (or for a list of removals, where there is none) its last fold. */
const folds = new WeakMap<object, Fold>();
