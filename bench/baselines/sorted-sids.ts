import type { TrieArrays } from '../../src/kernels/index.js';
import { nativeRivals } from './native-rivals.js';
import { NativeRival } from './request-rival.js';
import { type Idea, leavesBelow, type Structure } from './rival.js';

/*
 * Parallel prefix verification (PPV): the constraint is nothing but the sorted SIDs, and a candidate is allowed when
 * a binary search finds its prefix among them. The idea is that of Ye et al. (Efficient and Asymptotically Unbiased
 * Constrained Decoding for Large Language Models, arXiv 2504.09135); the STATIC paper (arXiv 2602.22647) measures it
 * in two ways, exact, where all V codes of a beam are searched, and approximate, where only the 50 with the highest
 * logits are.
 *
 * Made fast: a beam remembers the rows of its prefix, where STATIC's published baseline searches for them anew in each
 * step; the codes of a level lie side by side; 64 searches run at once in vector lanes; and what scores too low to be
 * among the M best is not searched at all, which changes no result.
 */

/** How many tokens of a beam the approximate variant verifies, after the paper. */
export const VERIFIED_TOKENS = 50;

export interface SortedSids extends Structure {
  /** [levels] of [SIDs] codes. */
  columns: Uint32Array[];
}

export function sortedSidsBytes({ leafCount, levelCount }: TrieArrays): number {
  return 4 * leafCount * levelCount;
}

export function buildSortedSids({ rows, leafCount, levelCount }: TrieArrays): SortedSids {
  const columns = Array.from({ length: levelCount }, () => new Uint32Array(leafCount));
  for (let leaf = 0, at = 0; leaf < leafCount; leaf++) {
    for (let level = 0; level < levelCount; level++) columns[level][leaf] = rows[at++];
  }
  return { columns, bytes: 4 * leafCount * levelCount };
}

function ppv(name: string, agreement: 'exact' | 'subset', numbers: readonly number[]): Idea<SortedSids> {
  return {
    name,
    kind: 'rival',
    agreement,
    demand: (sids) => ({ bytes: sortedSidsBytes(sids) }),
    build: buildSortedSids,
    start(structures, sids, seats) {
      const handles = structures.map(({ columns }, table) =>
        nativeRivals().createRival(name, columns, [sids[table].leafCount, ...numbers]),
      );
      return new NativeRival(sids, seats, handles, (table, prefix) => leavesBelow(sids[table], prefix));
    },
  };
}

export const ppvExact = ppv('ppv-exact', 'exact', []);
export const ppvApproximate = ppv('ppv-approximate', 'subset', [VERIFIED_TOKENS]);
