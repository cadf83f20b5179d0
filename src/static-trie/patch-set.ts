import {
  chooseHostKernel,
  isBitSet,
  type LeafItems,
  leafOfItem,
  nextSetBit,
  patchLiveLeaves,
  putBit,
  type SetAlgebra,
  setBit,
  sharedNumber,
  sharedNumbersOf,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';
import { type ConstraintSet, combineSets, constraintSetFromItems, setHasItem } from './constraint-set.js';

/** Beyond so many items, one pass over whole bitmaps costs less than a look at each of them. */
const MANY_MEMBERS = 4_096;

/**
 * The set with some items in it or not, as `members` says; the others stay. Gives the same object where that changes
 * nothing.
 */
export function patchSet(
  trie: TrieArrays,
  leafItems: LeafItems,
  set: ConstraintSet,
  members: ReadonlyMap<number, boolean>,
  sets: SetAlgebra = chooseHostKernel().sets,
  manyMembers = MANY_MEMBERS,
): ConstraintSet {
  return members.size > manyMembers
    ? patchWhole(trie, leafItems, set, members, sets)
    : patchItemByItem(trie, leafItems, set, members);
}

function patchWhole(
  trie: TrieArrays,
  leafItems: LeafItems,
  set: ConstraintSet,
  members: ReadonlyMap<number, boolean>,
  sets: SetAlgebra,
): ConstraintSet {
  let next = set;
  for (const [operation, isMember] of [
    ['andNot', false],
    ['or', true],
  ] as const) {
    const itemBits = new Uint32Array(wordsFor(leafItems.itemCount));
    let count = 0;
    for (const [item, isIn] of members) {
      if (isIn !== isMember) continue;
      setBit(itemBits, item);
      count++;
    }
    if (count === 0) continue;
    const other = constraintSetFromItems(trie, leafItems, itemBits, sets);
    const patched = combineSets(operation, trie, leafItems, next, other, sets);
    if (patched.itemCount !== next.itemCount) next = patched;
  }
  return next;
}

function patchItemByItem(
  trie: TrieArrays,
  leafItems: LeafItems,
  set: ConstraintSet,
  members: ReadonlyMap<number, boolean>,
): ConstraintSet {
  const changes = [...members].filter(([item, isMember]) => setHasItem(leafItems, set, item) !== isMember);
  if (changes.length === 0) return set;
  const leafBits = set.live.leafBits.slice();
  const sharedItemBits = set.sharedItemBits.slice();
  let { itemCount, leafCount } = set;
  const leaves = new Set<number>();
  for (const [item, isMember] of changes) {
    itemCount += isMember ? 1 : -1;
    const leaf = leafOfItem(leafItems, item);
    const number = sharedNumber(leafItems, item, leaf);
    if (number >= 0) putBit(sharedItemBits, number, isMember);
    const isLive = isMember || (number >= 0 && hasSharedItem(leafItems, sharedItemBits, leaf));
    if (isLive === isBitSet(leafBits, leaf)) continue;
    leafCount += isLive ? 1 : -1;
    putBit(leafBits, leaf, isLive);
    leaves.add(leaf);
  }
  return { live: patchLiveLeaves(trie, set.live, leafBits, leaves), sharedItemBits, itemCount, leafCount };
}

/** Whether an item of a shared leaf is among those. */
function hasSharedItem(leafItems: LeafItems, sharedItemBits: Uint32Array, leaf: number): boolean {
  const [from, end] = sharedNumbersOf(leafItems, leaf);
  return nextSetBit(sharedItemBits, from, end) < end;
}
