import { countBits, isBitSet, nextSetBit, type TrieArrays } from '../kernels/index.js';

/** How many children the nodes above a level have. */
export interface FanOut {
  mean: number;
  /** 99 % of the nodes have at most so many. */
  p99: number;
  max: number;
}

export interface TrieStats {
  leafCount: number;
  codebookSizes: readonly number[];
  /** [levels]: the prefixes that end with a code of this level. */
  nodesPerLevel: number[];
  /** [levels] */
  fanOutPerLevel: FanOut[];
}

export function trieStats(trie: TrieArrays): TrieStats {
  const { leafCount, codebookSizes, newPrefix } = trie;
  const nodesPerLevel = newPrefix.map((bits) => countBits(bits, 0, leafCount));
  const fanOutPerLevel = nodesPerLevel.map((nodes, level) => {
    const parents = level === 0 ? 1 : nodesPerLevel[level - 1];
    return { mean: nodes / parents, ...highFanOut(trie, level, parents) };
  });
  return { leafCount, codebookSizes, nodesPerLevel, fanOutPerLevel };
}

function highFanOut(trie: TrieArrays, level: number, parentCount: number): { p99: number; max: number } {
  const { leafCount, codebookSizes, newPrefix } = trie;
  // Entry n counts the parents with n children.
  const parentsWith = new Float64Array(codebookSizes[level] + 1);
  let children = 0;
  for (let leaf = 0; leaf < leafCount; leaf = nextSetBit(newPrefix[level], leaf + 1, leafCount)) {
    if (level > 0 && leaf > 0 && isBitSet(newPrefix[level - 1], leaf)) {
      parentsWith[children]++;
      children = 0;
    }
    children++;
  }
  parentsWith[children]++;
  let p99 = 0;
  for (let seen = 0; p99 < codebookSizes[level]; p99++) {
    seen += parentsWith[p99];
    if (seen >= 0.99 * parentCount) break;
  }
  return { p99, max: parentsWith.findLastIndex((count) => count > 0) };
}
