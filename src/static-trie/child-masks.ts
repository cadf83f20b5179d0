import { type ChildMasks, setBit, type TopLevel, wordsFor } from '../kernels/index.js';

/** A mask of 64 codes pays once it saves looking at one child. */
const CODES_PER_CHILD = 64;
const BYTES_PER_WORD = 12;

/**
 * What child masks may take in a trie of so many rows: at most half a byte a row; but a megabyte, enough for 2,048
 * nodes of 2,048 codes, is too little to save at the cost of steps that look at children one by one.
 */
export function childMaskBudget(rowCount: number): number {
  return Math.max(1 << 20, Math.floor(rowCount / 2));
}

/** Masks for the level-0 nodes with the most children, as far as the budget goes; equal fan-outs by node. */
export function buildChildMasks(
  topLevels: readonly TopLevel[],
  codebookSizes: readonly number[],
  budgetBytes: number,
): ChildMasks | null {
  if (codebookSizes.length < 2) return null;
  const [roots, children] = topLevels;
  const firstChild = roots.firstChild!;
  const fanOut = (node: number) => firstChild[node + 1] - firstChild[node];
  const words = wordsFor(codebookSizes[1]) / 2;
  let nodes = Array.from(roots.codes.keys()).filter(
    (node) => fanOut(node) * CODES_PER_CHILD >= codebookSizes[1],
  );
  const affordable = Math.floor(budgetBytes / (words * BYTES_PER_WORD + 4));
  if (nodes.length > affordable) {
    nodes.sort((a, b) => fanOut(b) - fanOut(a) || a - b);
    nodes = nodes.slice(0, affordable).sort((a, b) => a - b);
  }
  if (nodes.length === 0) return null;
  const bits = new Uint32Array(nodes.length * words * 2);
  const ranks = new Uint32Array(nodes.length * words);
  for (const [index, node] of nodes.entries()) {
    const mask = bits.subarray(index * words * 2, (index + 1) * words * 2);
    const rank = ranks.subarray(index * words, (index + 1) * words);
    for (let child = firstChild[node]; child < firstChild[node + 1]; child++) {
      const code = children.codes[child];
      setBit(mask, code);
      for (let word = (code >>> 6) + 1; word < words; word++) rank[word]++;
    }
  }
  return { nodes: Uint32Array.from(nodes), bits, ranks };
}
