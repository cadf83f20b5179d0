import { lowerBound } from './children.js';
import type { LeafItems } from './types.js';

/** The number of leaf `leaf`'s first item; for leafCount it is the item count. */
export function firstItemOf(leafItems: LeafItems, leaf: number): number {
  return leaf + itemsBeyondLeaves(leafItems, lowerBound(leafItems.sharedLeaves, leaf));
}

/** The leaf that item `item` lies on. */
export function leafOfItem(leafItems: LeafItems, item: number): number {
  const { sharedLeaves } = leafItems;
  // The last shared leaf whose first item is not behind `item`.
  let low = 0;
  let high = sharedLeaves.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sharedLeaves[middle] + itemsBeyondLeaves(leafItems, middle) <= item) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return item;
  const leaf = sharedLeaves[low - 1];
  return Math.max(leaf, item - itemsBeyondLeaves(leafItems, low));
}

/** Item `item`'s number among the items on shared leaves, or -1 where it has its leaf for itself. */
export function sharedNumber(leafItems: LeafItems, item: number, leaf: number): number {
  const { sharedLeaves, sharedStart } = leafItems;
  const index = lowerBound(sharedLeaves, leaf);
  if (sharedLeaves[index] !== leaf) return -1;
  return sharedStart[index] + item - (leaf + itemsBeyondLeaves(leafItems, index));
}

/** The numbers of a shared leaf's items: [from, end). @param leaf one that is shared */
export function sharedNumbersOf({ sharedLeaves, sharedStart }: LeafItems, leaf: number): [number, number] {
  const index = lowerBound(sharedLeaves, leaf);
  return [sharedStart[index], sharedStart[index + 1]];
}

export function sharedItemCount({ sharedStart }: LeafItems): number {
  return sharedStart[sharedStart.length - 1];
}

/** By how much items are ahead of leaves once the first `index` shared leaves are passed. */
function itemsBeyondLeaves({ sharedStart }: LeafItems, index: number): number {
  return sharedStart[index] - index;
}
