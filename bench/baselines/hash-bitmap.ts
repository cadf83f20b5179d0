import type { TrieArrays } from '../../src/kernels/index.js';
import { nativeRivals } from './native-rivals.js';
import { NativeRival } from './request-rival.js';
import { type Idea, nodeCounts, type Structure } from './rival.js';

/*
 * A bitmap of hashes: each prefix of an allowed SID sets the bit that its hash names, and a candidate is allowed when
 * its bit is set (the "hash bitmap" of the STATIC paper's comparison, arXiv 2602.22647; in its published baseline 2^30
 * bits). It is no trie, and no exact constraint: a prefix that no SID has passes when its hash meets another's.
 *
 * Made fast: a beam keeps its prefix's hash, so that a candidate takes one round of mixing; the hashes of 64
 * candidates are computed in vector lanes before the first bit is read, so that the loads overlap; what scores too
 * low to win is not looked up. At least 16 bits a prefix, so that few of them meet: at most one candidate in 16
 * passes that should not.
 */

interface HashBitmap extends Structure {
  /** [2^bits] bits. */
  bitmap: Uint32Array;
  bits: number;
}

const BITS_PER_PREFIX = 16;

/** Of the number of bits: its logarithm. */
function bitsFor(sids: TrieArrays): number {
  const prefixes = nodeCounts(sids).reduce((sum, count) => sum + count, 0);
  return Math.max(10, Math.ceil(Math.log2(prefixes * BITS_PER_PREFIX)));
}

/** At most what one typed array and 32-bit places take: 2^34 bits. */
const MAX_BITS = 34;

export const hashBitmap: Idea<HashBitmap> = {
  name: 'hash-bitmap',
  kind: 'rival',
  agreement: 'superset',
  demand: (sids) => ({ bytes: 2 ** Math.min(MAX_BITS, bitsFor(sids)) / 8 }),
  build(sids) {
    const bits = Math.min(MAX_BITS, bitsFor(sids));
    const bitmap = new Uint32Array(2 ** (bits - 5));
    nativeRivals().fillBitmap(sids.rows, sids.leafCount, sids.levelCount, bitmap, bits);
    return { bitmap, bits, bytes: bitmap.byteLength };
  },
  start(structures, sids, seats) {
    const handles = structures.map(({ bitmap, bits }) =>
      nativeRivals().createRival('hash-bitmap', [bitmap], [bits]),
    );
    const halves = new Uint32Array(2);
    return new NativeRival(sids, seats, handles, (_table, prefix) => {
      nativeRivals().hashOf(prefix, halves);
      return { lo: halves[0], hi: halves[1] };
    });
  },
};
