import { clearBit } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import { type ConstraintSet, constraintSetOfAll } from './constraint-set.js';
import { patchSet } from './patch-set.js';

/** Removals that a request takes as exclusions; beyond them they are folded into the set that it asks for. */
const MAX_PENDING_REMOVALS = 256;
/** Verdicts that wait for the next request under a patched set. */
const MAX_PENDING_MEMBERS = 256;

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
    return this.#isAmongFirst(this.count, item);
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
    const fold = this.#foldOf(set) ?? { set, members: NONE, list: this.#list, count: 0 };
    const pending = this.#list.items.slice(fold.count, this.count);
    const isFolding = pending.length > MAX_PENDING_REMOVALS;
    if (!isFolding && fold.members.size === 0) return { set: fold.set, excluded: pending };
    const next = this.#advance(fold, isFolding ? this.count : fold.count, version);
    folds.set(set ?? this.#list, next);
    return { set: next.set, excluded: isFolding ? [] : pending };
  }

  /**
   * A set was patched: the fold of the new one goes on from that of the old one, and is not begun anew with all that
   * was ever removed.
   * @param members in which `next` may differ from `set`: whether `next` has them, removed or not
   */
  carryFold(
    set: ConstraintSet,
    next: ConstraintSet,
    members: ReadonlyMap<number, boolean>,
    version: CatalogVersion,
  ): void {
    const fold = this.#foldOf(set);
    if (fold === undefined) return;
    const carried = { ...fold, members: new Map([...fold.members, ...members]) };
    const isLate = carried.members.size > MAX_PENDING_MEMBERS;
    folds.set(next, isLate ? this.#advance(carried, fold.count, version) : carried);
  }

  /** What the last fold has made of a set; null where there was none. */
  foldOf(set: ConstraintSet | null): ConstraintSet | null {
    const fold = this.#foldOf(set);
    return fold?.members.size === 0 ? fold.set : null;
  }

  /** Takes the first `count` removed items out of a fold's set, and puts its members in. */
  #advance(fold: Fold, count: number, { trie, leafItems }: CatalogVersion): Fold {
    const members = new Map(fold.members);
    for (const item of members.keys()) if (this.#isAmongFirst(count, item)) members.set(item, false);
    for (const item of this.#list.items.slice(fold.count, count)) members.set(item, false);
    const set = patchSet(trie, leafItems, fold.set ?? constraintSetOfAll(trie, leafItems), members);
    return { ...fold, set, members: NONE, count };
  }

  #foldOf(set: ConstraintSet | null): Fold | undefined {
    const fold = folds.get(set ?? this.#list);
    return fold?.list === this.#list && fold.count <= this.count ? fold : undefined;
  }

  #isAmongFirst(count: number, item: number): boolean {
    return (this.#list.positions.get(item) ?? count) < count;
  }

  #copyList(): RemovalList {
    const copy = new RemovalList();
    for (const item of this.#list.items.slice(0, this.count)) copy.add(item);
    return copy;
  }
}

const NONE: ReadonlyMap<number, boolean> = new Map();

/** A set without the first `count` items of a list. */
interface Fold {
  /** null: all items. */
  set: ConstraintSet | null;
  /** What came of items since; `set` does not know it yet. */
  members: ReadonlyMap<number, boolean>;
  list: RemovalList;
  count: number;
}

/** For each set (or for a list of removals, where there is none) its last fold. */
const folds = new WeakMap<object, Fold>();
