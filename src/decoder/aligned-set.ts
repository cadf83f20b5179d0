import type { ConstraintSet } from '../static-trie/index.js';

const WORD_BYTES = 8;

/** Sets that share their bitmaps go on sharing them. */
const copies = new WeakMap<ConstraintSet, ConstraintSet>();

/**
 * A set whose bitmaps begin at whole 64-bit words, as kernels read them: what comes from another process lies
 * wherever it lay in the message.
 */
export function alignedSet(set: ConstraintSet): ConstraintSet {
  const { leafBits, rootMask, nodeBits } = set.live;
  const isAligned = [leafBits, rootMask, nodeBits, set.sharedItemBits].every(
    ({ byteOffset }) => byteOffset % WORD_BYTES === 0,
  );
  if (isAligned) return set;
  let copy = copies.get(set);
  if (copy === undefined) {
    const live = { leafBits: leafBits.slice(), rootMask: rootMask.slice(), nodeBits: nodeBits.slice() };
    copy = { ...set, live, sharedItemBits: set.sharedItemBits.slice() };
    copies.set(set, copy);
  }
  return copy;
}
