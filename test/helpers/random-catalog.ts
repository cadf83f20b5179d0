import {
  type LeafItems,
  type SetAlgebra,
  setBit,
  type TrieArrays,
  wordsFor,
} from '../../src/kernels/index.js';
import { buildStaticTrie, type ConstraintSet, constraintSetFromItems } from '../../src/static-trie/index.js';
import type { Random } from './random.js';

/** A small random catalog, kept also as plain lists for the brute-force oracles. */
export interface RandomCatalog {
  codebookSizes: number[];
  /** By item number: its SID. Items are in the order (SID, upload). */
  sids: number[][];
  trie: TrieArrays;
  leafItems: LeafItems;
}

/** Shapes that real trees have and uniform ones lack: chains, wide last levels, shared leaves. */
export function randomCatalog(random: Random): RandomCatalog {
  const levelCount = 1 + random.below(8);
  const codebookSizes = Array.from({ length: levelCount }, () =>
    random.pick([1, 2, 3, 50, 64, 65, 256, 770]),
  );
  const itemCount = 1 + random.below(random.pick([3, 40, 300]));
  // Few codes in use make prefixes and whole SIDs meet; many make chains.
  const used = codebookSizes.map((size) => Math.min(size, random.pick([1, 2, 5, 1000])));
  const uploaded = Array.from({ length: itemCount }, () =>
    codebookSizes.map((size, level) => {
      const code = random.below(used[level]);
      return random.chance(0.5) ? code : size - 1 - code;
    }),
  );
  const codes = Uint16Array.from(uploaded.flat());
  const { trie, sortedRows, leafItems } = buildStaticTrie({ codebookSizes, rowCount: itemCount, codes });
  return { codebookSizes, sids: Array.from(sortedRows, (row) => uploaded[row]), trie, leafItems };
}

/** A random subset of the items, as a list of flags and as a constraint set. */
export function randomSet(
  random: Random,
  { sids, trie, leafItems }: RandomCatalog,
  sets?: SetAlgebra,
): { allowed: boolean[]; set: ConstraintSet } {
  const probability = random.pick([0, 0.05, 0.3, 0.9, 1]);
  const allowed = sids.map(() => random.chance(probability));
  const itemBits = new Uint32Array(wordsFor(sids.length));
  allowed.forEach((isAllowed, item) => {
    if (isAllowed) setBit(itemBits, item);
  });
  return { allowed, set: constraintSetFromItems(trie, leafItems, itemBits, sets) };
}
