import { nextSetBit, putBit } from './bits.js';
import { lowerBound } from './children.js';
import type { LiveLeaves, TopLevel, TrieArrays } from './types.js';

/**
 * What `deriveLiveLeaves` would make of some leaf bits, from what it made of bits that differ in a few leaves only.
 * @param leafBits kept, not copied
 * @param leaves   those whose bit differs
 */
export function patchLiveLeaves(
  { topLevels: [roots, nodes] }: TrieArrays,
  live: LiveLeaves,
  leafBits: Uint32Array,
  leaves: Iterable<number>,
): LiveLeaves {
  const rootMask = live.rootMask.slice();
  const nodeBits = live.nodeBits.slice();
  for (const leaf of leaves) {
    const root = nodeAbove(roots, leaf);
    putBit(rootMask, roots.codes[root], hasLiveLeaf(roots, root, leafBits));
    if (nodes === undefined) continue;
    const node = nodeAbove(nodes, leaf);
    putBit(nodeBits, node, hasLiveLeaf(nodes, node, leafBits));
  }
  return { leafBits, rootMask, nodeBits };
}

/** The node of `level` below which a leaf is. */
function nodeAbove({ leafStart }: TopLevel, leaf: number): number {
  return lowerBound(leafStart, leaf + 1) - 1;
}

function hasLiveLeaf({ leafStart }: TopLevel, node: number, leafBits: Uint32Array): boolean {
  const end = leafStart[node + 1];
  return nextSetBit(leafBits, leafStart[node], end) < end;
}
