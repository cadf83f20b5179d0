import { lowerBound, type TrieArrays } from '../kernels/index.js';

/**
 * Which items lie on which leaf. Items are numbered in the order (leaf rank, id), so that the items of a
 * leaf are neighbours and most leaves carry one.
 */
export interface LeafItems {
  itemCount: number;
  /** [leafCount + 1]: the items of leaf i are numbered itemStart[i] … itemStart[i + 1] − 1. */
  itemStart: Uint32Array;
  /** Leaves that several items share, ascending. */
  sharedLeaves: Uint32Array;
  /** [sharedLeaves.length + 1]: the items on shared leaves, numbered on their own: first number of each leaf. */
  sharedStart: Uint32Array;
}

/** @param leafOfItem [itemCount] the leaf rank of each item, ascending. Every leaf has at least one item. */
export function indexLeafItems(trie: TrieArrays, leafOfItem: Uint32Array): LeafItems {
  const itemStart = new Uint32Array(trie.leafCount + 1);
  for (const leaf of leafOfItem) itemStart[leaf + 1]++;
  const sharedLeaves: number[] = [];
  const sharedStart = [0];
  for (let leaf = 0; leaf < trie.leafCount; leaf++) {
    const count = itemStart[leaf + 1];
    if (count > 1) {
      sharedLeaves.push(leaf);
      sharedStart.push(sharedStart[sharedStart.length - 1] + count);
    }
    itemStart[leaf + 1] += itemStart[leaf];
  }
  return {
    itemCount: leafOfItem.length,
    itemStart,
    sharedLeaves: Uint32Array.from(sharedLeaves),
    sharedStart: Uint32Array.from(sharedStart),
  };
}

/** The leaf that item `item` lies on. */
export function leafOfItem({ itemStart }: LeafItems, item: number): number {
  return lowerBound(itemStart, item + 1) - 1;
}

/** Item `item`'s number among the items on shared leaves, or -1 where it has its leaf for itself. */
export function sharedNumber(leafItems: LeafItems, item: number, leaf: number): number {
  const { itemStart, sharedLeaves, sharedStart } = leafItems;
  if (itemStart[leaf + 1] - itemStart[leaf] === 1) return -1;
  return sharedStart[lowerBound(sharedLeaves, leaf)] + item - itemStart[leaf];
}

export function sharedItemCount({ sharedStart }: LeafItems): number {
  return sharedStart[sharedStart.length - 1];
}
