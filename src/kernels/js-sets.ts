import { clearBit, copyBits, countBits, isBitSet, nextSetBit, setBit, wordsFor } from './bits.js';
import { firstItemOf, leafOfItem, sharedItemCount, sharedNumber } from './leaf-items.js';
import type { BitOperation, ItemSubset, LeafItems, LiveLeaves, SetAlgebra, TrieArrays } from './types.js';

/** The readable reference, and what runs without the native addon. */
export const jsSets: SetAlgebra = {
  deriveLiveLeaves,
  countLiveNodes,
  combine,
  count: (bits, bitCount) => countBits(bits, 0, bitCount),
  subsetOf,
  settleSharedLeaves,
  findDeadLeaves,
};

function deriveLiveLeaves(trie: TrieArrays, leafBits: Uint32Array): LiveLeaves {
  const [roots, nodes] = trie.topLevels;
  const rootMask = new Uint32Array(wordsFor(trie.codebookSizes[0]));
  const nodeBits = new Uint32Array(wordsFor(nodes === undefined ? 0 : nodes.codes.length));
  for (let node = 0; node < roots.codes.length; node++) {
    const end = roots.leafStart[node + 1];
    if (nextSetBit(leafBits, roots.leafStart[node], end) < end) setBit(rootMask, roots.codes[node]);
  }
  for (let node = 0; node < (nodes?.codes.length ?? 0); node++) {
    const end = nodes.leafStart[node + 1];
    if (nextSetBit(leafBits, nodes.leafStart[node], end) < end) setBit(nodeBits, node);
  }
  return { leafBits, rootMask, nodeBits };
}

function countLiveNodes(trie: TrieArrays, leafBits: Uint32Array): number[] {
  return trie.newPrefix.map((starts) => {
    let count = 0;
    for (let leaf = nextSetBit(leafBits, 0, trie.leafCount); leaf < trie.leafCount; ) {
      count++;
      const nodeEnd = nextSetBit(starts, leaf + 1, trie.leafCount);
      leaf = nextSetBit(leafBits, nodeEnd, trie.leafCount);
    }
    return count;
  });
}

function combine(operation: BitOperation, a: Uint32Array, b: Uint32Array): Uint32Array {
  switch (operation) {
    case 'and':
      return a.map((word, index) => word & b[index]);
    case 'or':
      return a.map((word, index) => word | b[index]);
    case 'andNot':
      return a.map((word, index) => word & ~b[index]);
  }
}

function subsetOf(leafItems: LeafItems, itemBits: Uint32Array): ItemSubset {
  const { leafCount, sharedLeaves, sharedStart } = leafItems;
  const leafBits = new Uint32Array(wordsFor(leafCount));
  const sharedItemBits = new Uint32Array(wordsFor(sharedItemCount(leafItems)));
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
  return { leafBits, sharedItemBits };
}

function settleSharedLeaves(
  { sharedLeaves, sharedStart }: LeafItems,
  { leafBits, sharedItemBits }: ItemSubset,
): number {
  let liveCount = 0;
  for (let index = 0; index < sharedLeaves.length; index++) {
    const end = sharedStart[index + 1];
    if (nextSetBit(sharedItemBits, sharedStart[index], end) < end) {
      setBit(leafBits, sharedLeaves[index]);
      liveCount++;
    } else clearBit(leafBits, sharedLeaves[index]);
  }
  return liveCount;
}

function findDeadLeaves(
  leafItems: LeafItems,
  excluded: Uint32Array,
  subset: ItemSubset | null,
): { deadLeaves: Uint32Array; excludedFromSubset: number } {
  const isExcluded = new Set(excluded);
  const inSubset = Array.from(excluded).filter((item) => hasItem(leafItems, subset, item));
  const touchedLeaves = new Set(inSubset.map((item) => leafOfItem(leafItems, item)));
  const dead = [...touchedLeaves].filter((leaf) => {
    const end = firstItemOf(leafItems, leaf + 1);
    for (let item = firstItemOf(leafItems, leaf); item < end; item++) {
      if (!isExcluded.has(item) && hasItem(leafItems, subset, item)) return false;
    }
    return true;
  });
  return { deadLeaves: Uint32Array.from(dead).sort(), excludedFromSubset: inSubset.length };
}

/** Whether item `item` is in the subset; null is all items. */
export function hasItem(leafItems: LeafItems, subset: ItemSubset | null, item: number): boolean {
  if (subset === null) return true;
  const leaf = leafOfItem(leafItems, item);
  if (!isBitSet(subset.leafBits, leaf)) return false;
  const number = sharedNumber(leafItems, item, leaf);
  return number < 0 || isBitSet(subset.sharedItemBits, number);
}
