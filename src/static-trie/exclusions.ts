import type { DeadLeaves } from '../kernels/index.js';
import { type ConstraintSet, setHasItem } from './constraint-set.js';
import { firstItemOf, type LeafItems, leafOfItem } from './leaf-items.js';

/** Items that one request must not get, prepared against the set that it decodes under. */
export interface Exclusions {
  items: ReadonlySet<number>;
  /** Leaves that keep no allowed item. */
  dead: DeadLeaves;
  /** How many of the set's items are excluded. */
  excludedFromSet: number;
}

/**
 * A leaf is dead when each of its allowed items is excluded; a leaf that keeps another allowed item lives.
 * @param excluded item numbers, in any order, with duplicates.
 */
export function prepareExclusions(
  leafItems: LeafItems,
  set: ConstraintSet | null,
  excluded: Iterable<number>,
): Exclusions {
  const items = new Set(excluded);
  const inSet = [...items].filter((item) => setHasItem(leafItems, set, item));
  const touchedLeaves = new Set(inSet.map((item) => leafOfItem(leafItems, item)));
  const dead = [...touchedLeaves].filter((leaf) => !keepsAnItem(leafItems, set, items, leaf));
  return {
    items,
    dead: { leaves: Uint32Array.from(dead).sort() },
    excludedFromSet: inSet.length,
  };
}

function keepsAnItem(
  leafItems: LeafItems,
  set: ConstraintSet | null,
  excluded: ReadonlySet<number>,
  leaf: number,
): boolean {
  const end = firstItemOf(leafItems, leaf + 1);
  for (let item = firstItemOf(leafItems, leaf); item < end; item++) {
    if (!excluded.has(item) && setHasItem(leafItems, set, item)) return true;
  }
  return false;
}
