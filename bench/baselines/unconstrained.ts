import type { StepInput, TrieArrays } from '../../src/kernels/index.js';
import { nativeRivals } from './native-rivals.js';
import { fastestLogSumExp, NativeRival, seatedBatch } from './request-rival.js';
import type { Idea, Rival, Seats } from './rival.js';

/*
 * The floors. `unconstrained` is the same beam search without a trie: log-softmax, and the M best of all tokens. A
 * constrained step may beat it where few children exist. `log-sum-exp` is less than any step can do: the logits read
 * once and summed.
 *
 * Made fast: 64 logits at a time are compared with the worst of the M best before any is looked at.
 */

export const unconstrained: Idea = {
  name: 'unconstrained',
  kind: 'floor',
  agreement: 'superset',
  demand: () => ({ bytes: 0 }),
  build: () => ({ bytes: 0 }),
  start(_structures, sids, seats) {
    const handles = sids.map(() => nativeRivals().createRival('unconstrained', [], []));
    return new NativeRival(sids, seats, handles, () => ({ lo: 0, hi: 0 }));
  },
};

/** @param threads that it may take */
export function logSumExpFloor(threads = 1): Idea {
  return {
    name: threads === 1 ? 'log-sum-exp' : `log-sum-exp-${threads}-threads`,
    kind: 'floor',
    agreement: 'none',
    demand: () => ({ bytes: 0 }),
    build: () => ({ bytes: 0 }),
    start: (_structures, sids, seats) => logSumExpOnly(sids, seats, threads),
  };
}

function logSumExpOnly(sids: readonly TrieArrays[], seats: Seats, threads: number): Rival {
  const batch = seatedBatch(sids, seats);
  const normalize = fastestLogSumExp(threads);
  return {
    batch,
    numbering: 'leaf ranges',
    locate: () => ({ lo: 0, hi: 0 }),
    step({ logits, vocabSize }: StepInput) {
      const rows = batch.beamCounts.reduce((sum, count) => sum + count, 0);
      normalize(
        (logits as Float32Array).subarray(0, rows * vocabSize),
        vocabSize,
        batch.normalizers.subarray(0, rows),
      );
      batch.counts.fill(0);
    },
  };
}
