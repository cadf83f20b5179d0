import {
  allBits,
  type BitOperation,
  chooseHostKernel,
  hasItem,
  type ItemSubset,
  isBitSet,
  type LeafItems,
  type LiveLeaves,
  type SetAlgebra,
  setBit,
  sharedItemCount,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';

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
  sets: SetAlgebra = chooseHostKernel().sets,
): ConstraintSet {
  const subset = sets.subsetOf(leafItems, itemBits);
  return constraintSetOf(trie, subset, sets.count(itemBits, leafItems.itemCount), sets);
}

/** The set of all items on some leaves. @param leafBits [leafCount] bits; kept, not copied. */
export function constraintSetFromLeaves(
  trie: TrieArrays,
  leafItems: LeafItems,
  leafBits: Uint32Array,
  sets: SetAlgebra = chooseHostKernel().sets,
): ConstraintSet {
  const { sharedLeaves, sharedStart } = leafItems;
  const sharedItemBits = new Uint32Array(wordsFor(sharedItemCount(leafItems)));
  let itemCount = sets.count(leafBits, trie.leafCount);
  for (let index = 0; index < sharedLeaves.length; index++) {
    if (!isBitSet(leafBits, sharedLeaves[index])) continue;
    itemCount += sharedStart[index + 1] - sharedStart[index] - 1;
    for (let number = sharedStart[index]; number < sharedStart[index + 1]; number++)
      setBit(sharedItemBits, number);
  }
  return constraintSetOf(trie, { leafBits, sharedItemBits }, itemCount, sets);
}

/** The set of all items. */
export function constraintSetOfAll(
  trie: TrieArrays,
  leafItems: LeafItems,
  sets: SetAlgebra = chooseHostKernel().sets,
): ConstraintSet {
  const leafBits = allBits(trie.leafCount);
  const sharedItemBits = allBits(sharedItemCount(leafItems));
  return constraintSetOf(trie, { leafBits, sharedItemBits }, leafItems.itemCount, sets);
}

/** The items that are in both sets, in one of them, or in the first and not in the second. */
export function combineSets(
  operation: BitOperation,
  trie: TrieArrays,
  leafItems: LeafItems,
  a: ConstraintSet,
  b: ConstraintSet,
  sets: SetAlgebra = chooseHostKernel().sets,
): ConstraintSet {
  const subset: ItemSubset = {
    leafBits: sets.combine(operation, a.live.leafBits, b.live.leafBits),
    sharedItemBits: sets.combine(operation, a.sharedItemBits, b.sharedItemBits),
  };
  // On a shared leaf the leaf's bits say too little: two sets may meet there without a common item.
  const liveSharedLeaves = sets.settleSharedLeaves(leafItems, subset);
  // Every live leaf has one item, and shared leaves those that their own bits say.
  const itemCount =
    sets.count(subset.leafBits, trie.leafCount) -
    liveSharedLeaves +
    sets.count(subset.sharedItemBits, sharedItemCount(leafItems));
  return constraintSetOf(trie, subset, itemCount, sets);
}

/** Whether item `item` is in the set; null is the set of all items. */
export function setHasItem(leafItems: LeafItems, set: ConstraintSet | null, item: number): boolean {
  return hasItem(leafItems, subsetOf(set), item);
}

/** The bitmaps of a set from which all else is derived; null is the set of all items. */
export function subsetOf(set: ConstraintSet | null): ItemSubset | null {
  return set && { leafBits: set.live.leafBits, sharedItemBits: set.sharedItemBits };
}

/** Live nodes of each depth 1 … levelCount: how many prefixes of each length a decode may pass. */
export function countLiveNodes(
  trie: TrieArrays,
  set: ConstraintSet,
  sets: SetAlgebra = chooseHostKernel().sets,
): number[] {
  return sets.countLiveNodes(trie, set.live.leafBits);
}

/** Bytes that a set's bitmaps take. */
export function setByteLength({ live, sharedItemBits }: ConstraintSet): number {
  const { leafBits, rootMask, nodeBits } = live;
  return leafBits.byteLength + rootMask.byteLength + nodeBits.byteLength + sharedItemBits.byteLength;
}

function constraintSetOf(
  trie: TrieArrays,
  { leafBits, sharedItemBits }: ItemSubset,
  itemCount: number,
  sets: SetAlgebra,
): ConstraintSet {
  const leafCount = sets.count(leafBits, trie.leafCount);
  return { live: sets.deriveLiveLeaves(trie, leafBits), sharedItemBits, itemCount, leafCount };
}
