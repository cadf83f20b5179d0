import { type LiveLeaves, nextSetBit, setBit, type TrieArrays, wordsFor } from '../kernels/index.js';

/** Derives, from one bit per leaf, which top-level nodes have a live leaf below them. */
export function deriveLiveLeaves(trie: TrieArrays, leafBits: Uint32Array): LiveLeaves {
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

/** Live nodes of each depth 1 … levelCount: how many prefixes of each length a decode may pass. */
export function countLiveNodes(trie: TrieArrays, leafBits: Uint32Array): number[] {
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
