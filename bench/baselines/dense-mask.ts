import { constants } from 'node:buffer';
import type { TrieArrays } from '../../src/kernels/index.js';
import { nativeRivals } from './native-rivals.js';
import { NativeRival } from './request-rival.js';
import { firstNewLevel, type Idea, leavesBelow, nodeCounts, type Structure } from './rival.js';

/*
 * A dense mask matrix: for every node one row of V bits that says which codes may follow, as grammar engines hold a
 * token mask for every state (for example XGrammar, arXiv 2411.15100). The fastest way to ask, and the
 * largest thing to keep: V bits for every node, of which below the top levels one or two are set.
 *
 * Made fast: bits, not bytes; empty words are passed over 64 codes at a time; full ones are compared with the worst
 * winner before they are read one by one; all beams' rows are asked for before the first is read. Where a winner
 * leads follows from the number of bits before its own, so that no second matrix of states is needed.
 */

interface DenseMask extends Structure {
  /** [levels] of [nodes, words] 64-bit words, as pairs of 32-bit ones. */
  masks: Uint32Array[];
  /** [levels] of [nodes] the number of each node's first child on the next level. */
  firstChild: Uint32Array[];
  /** [levels] of [nodes] each node's first leaf. */
  firstLeaf: Uint32Array[];
  words: number;
}

/** 64-bit words of a row. */
const wordsOf = ({ codebookSizes }: TrieArrays) => Math.ceil(Math.max(...codebookSizes) / 64);

export const denseMask: Idea<DenseMask> = {
  name: 'dense-mask',
  kind: 'rival',
  agreement: 'exact',
  demand(sids) {
    const parents = [1, ...nodeCounts(sids).slice(0, -1)];
    const nodes = parents.reduce((sum, count) => sum + count, 0);
    const largest = Math.max(...parents) * wordsOf(sids) * 8;
    const bytes = nodes * (wordsOf(sids) * 8 + 8);
    if (largest <= constants.MAX_LENGTH) return { bytes };
    return { bytes, refusal: `one level's masks take ${gigabytes(largest)}, more than one array can have` };
  },
  build,
  start(structures, sids, seats) {
    const handles = structures.map(({ masks, firstChild, words }) =>
      nativeRivals().createRival(
        'dense-mask',
        masks.flatMap((mask, level) => [mask, firstChild[level]]),
        [words],
      ),
    );
    return new NativeRival(sids, seats, handles, (table, prefix) => {
      const { lo } = leavesBelow(sids[table], prefix);
      const starts = structures[table].firstLeaf[prefix.length];
      return { lo: nodeStartingAt(starts, lo), hi: 0 };
    });
  },
};

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function build(sids: TrieArrays): DenseMask {
  const { rows, leafCount, levelCount } = sids;
  const parents = [1, ...nodeCounts(sids).slice(0, -1)];
  const words = wordsOf(sids);
  const masks = parents.map((nodes) => new Uint32Array(nodes * words * 2));
  const firstChild = parents.map((nodes) => new Uint32Array(nodes));
  const firstLeaf = parents.map((nodes) => new Uint32Array(nodes));
  // How many nodes of each level there are so far, the root's included.
  const seen = new Uint32Array(levelCount + 1);
  seen[0] = 1;
  for (let leaf = 0; leaf < leafCount; leaf++) {
    const first = firstNewLevel(rows, levelCount, leaf);
    for (let level = first; level < levelCount; level++) {
      const node = seen[level] - 1;
      if (level > first || leaf === 0) {
        firstChild[level][node] = seen[level + 1];
        firstLeaf[level][node] = leaf;
      }
      const code = rows[leaf * levelCount + level];
      masks[level][node * words * 2 + (code >>> 5)] |= 1 << (code & 31);
      seen[level + 1]++;
    }
  }
  const bytes = masks.reduce((sum, mask, level) => sum + mask.byteLength + 4 * firstChild[level].length, 0);
  return { masks, firstChild, firstLeaf, words, bytes };
}

function nodeStartingAt(starts: Uint32Array, leaf: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle] < leaf) low = middle + 1;
    else high = middle;
  }
  return low;
}
