import {
  clearBit,
  copyBits,
  countBits,
  isBitSet,
  type LiveLeaves,
  nextSetBit,
  setBit,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';
import { type LeafItems, leafOfItem, sharedItemCount, sharedNumber } from './leaf-items.js';
import { deriveLiveLeaves } from './node-bits.js';

/**
 * A subset of a catalog version's items as bitmaps, immutable. A leaf is live when one of its items is in
 * the set; where items share a leaf, each also has a bit of its own.
 * @see docs/architecture.md#constraint-sets
 */
export interface ConstraintSet {
  live: LiveLeaves;
  /** [items on shared leaves] bits, in the numbering of `LeafItems.sharedStart`. */
  sharedItemBits: Uint32Array;
  itemCount: number;
  leafCount: number;
}

/** The set of the items whose bit is set. @param itemBits [itemCount] bits. */
export function constraintSetFromItems(
  trie: TrieArrays,
  leafItems: LeafItems,
  itemBits: Uint32Array,
): ConstraintSet {
  const leafBits = new Uint32Array(wordsFor(trie.leafCount));
  const sharedItemBits = new Uint32Array(wordsFor(sharedItemCount(leafItems)));
  const { itemCount, leafCount, sharedLeaves, sharedStart } = leafItems;
  // Between two shared leaves, leaves and items run in step: their bits move in runs.
  let leaf = 0;
  let item = 0;
  for (let shared = 0; shared <= sharedLeaves.length; shared++) {
    const runEnd = shared < sharedLeaves.length ? sharedLeaves[shared] : leafCount;
    copyBits(itemBits, item, leafBits, leaf, runEnd - leaf);
    item += runEnd - leaf;
    leaf = runEnd;
    if (shared === sharedLeaves.length) break;
    const count = sharedStart[shared + 1] - sharedStart[shared];
    copyBits(itemBits, item, sharedItemBits, sharedStart[shared], count);
    if (nextSetBit(itemBits, item, item + count) < item + count) setBit(leafBits, leaf);
    item += count;
    leaf++;
  }
  return {
    live: deriveLiveLeaves(trie, leafBits),
    sharedItemBits,
    itemCount: countBits(itemBits, 0, itemCount),
    leafCount: countBits(leafBits, 0, trie.leafCount),
  };
}

/** The items that are in both sets. */
export function intersectSets(
  trie: TrieArrays,
  leafItems: LeafItems,
  a: ConstraintSet,
  b: ConstraintSet,
): ConstraintSet {
  const leafBits = and(a.live.leafBits, b.live.leafBits);
  const sharedItemBits = and(a.sharedItemBits, b.sharedItemBits);
  const { sharedLeaves, sharedStart } = leafItems;
  let itemsBeyondFirst = 0;
  // Two sets may meet on a leaf without an item in common: then the leaf is not live.
  for (let index = 0; index < sharedLeaves.length; index++) {
    const leaf = sharedLeaves[index];
    if (!isBitSet(leafBits, leaf)) continue;
    const items = countBits(sharedItemBits, sharedStart[index], sharedStart[index + 1]);
    if (items === 0) clearBit(leafBits, leaf);
    else itemsBeyondFirst += items - 1;
  }
  const leafCount = countBits(leafBits, 0, trie.leafCount);
  return {
    live: deriveLiveLeaves(trie, leafBits),
    sharedItemBits,
    itemCount: leafCount + itemsBeyondFirst,
    leafCount,
  };
}

/** Whether item `item` is in the set; null is the set of all items. */
export function setHasItem(leafItems: LeafItems, set: ConstraintSet | null, item: number): boolean {
  if (set === null) return true;
  const leaf = leafOfItem(leafItems, item);
  if (!isBitSet(set.live.leafBits, leaf)) return false;
  const number = sharedNumber(leafItems, item, leaf);
  return number < 0 || isBitSet(set.sharedItemBits, number);
}

function and(a: Uint32Array, b: Uint32Array): Uint32Array {
  return a.map((word, index) => word & b[index]);
}
