import {
  chooseHostKernel,
  type DeadLeaves,
  type LeafItems,
  lowerBound,
  type SetAlgebra,
} from '../kernels/index.js';
import { type ConstraintSet, subsetOf } from './constraint-set.js';

/** Items that one request must not get, prepared against the set that it decodes under. */
export interface Exclusions {
  /** Ascending, without duplicates. */
  items: Uint32Array;
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
  sets: SetAlgebra = chooseHostKernel().sets,
): Exclusions {
  const items = withoutRepeats(Uint32Array.from(excluded).sort());
  const { deadLeaves, excludedFromSubset } = sets.findDeadLeaves(leafItems, items, subsetOf(set));
  return { items, dead: { leaves: deadLeaves }, excludedFromSet: excludedFromSubset };
}

/** In place: `filter` takes longer than all the rest of the preparation. */
function withoutRepeats(sorted: Uint32Array): Uint32Array {
  let count = 0;
  for (let index = 0; index < sorted.length; index++) {
    if (count === 0 || sorted[index] !== sorted[count - 1]) sorted[count++] = sorted[index];
  }
  return sorted.subarray(0, count);
}

export function isExcluded({ items }: Exclusions, item: number): boolean {
  return items[lowerBound(items, item)] === item;
}
