import {
  type LeafItems,
  leafOfItem,
  lowerBound,
  setBit,
  sharedItemCount,
  sharedNumber,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';
import type { ConstraintSet } from './constraint-set.js';

/**
 * The set of a few items, the same as `constraintSetFromItems` makes of their bits. The work grows with the list; of
 * the catalog's size only the zeroed bitmaps remain.
 * @param items item numbers, in any order, with duplicates.
 */
export function constraintSetFromList(
  trie: TrieArrays,
  leafItems: LeafItems,
  items: Iterable<number>,
): ConstraintSet {
  const [, nodes] = trie.topLevels;
  const leafBits = new Uint32Array(wordsFor(trie.leafCount));
  const rootMask = new Uint32Array(wordsFor(trie.codebookSizes[0]));
  const nodeBits = new Uint32Array(wordsFor(nodes === undefined ? 0 : nodes.codes.length));
  const sharedItemBits = new Uint32Array(wordsFor(sharedItemCount(leafItems)));
  const listed = new Set(items);
  const leaves = new Set<number>();
  for (const item of listed) {
    const leaf = leafOfItem(leafItems, item);
    leaves.add(leaf);
    setBit(leafBits, leaf);
    setBit(rootMask, trie.rows[leaf * trie.levelCount]);
    // The last node that does not begin behind the leaf.
    if (nodes !== undefined) setBit(nodeBits, lowerBound(nodes.leafStart, leaf + 1) - 1);
    const number = sharedNumber(leafItems, item, leaf);
    if (number >= 0) setBit(sharedItemBits, number);
  }
  return {
    live: { leafBits, rootMask, nodeBits },
    sharedItemBits,
    itemCount: listed.size,
    leafCount: leaves.size,
  };
}
