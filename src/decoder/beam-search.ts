import { EspalierError } from '../errors.js';
import {
  badLogitError,
  type DeadLeaves,
  type Kernel,
  type LiveLeaves,
  type Normalization,
  StepBatch,
  type TrieArrays,
  tokenOf,
} from '../kernels/index.js';
import type { Model } from './model.js';

export interface BeamSearchInput {
  trie: TrieArrays;
  live: LiveLeaves | null;
  dead: DeadLeaves | null;
  /** What the model reads first; not empty. */
  tokens: readonly number[];
  beamWidth: number;
  normalize: Normalization;
  temperature: number;
  /** On the clock of performance.now(), checked before every model run. */
  deadlineMs: number;
}

export interface BeamSearchResult {
  /** Leaf ranks, best first. */
  leaves: Uint32Array;
  /** [leaves.length] cumulative natural-log scores. */
  scores: Float32Array;
  modelMs: number;
  constraintMs: number;
}

/**
 * Exact constrained beam search: each step keeps the `beamWidth` best live children of all beams. Exact for
 * each step, not exhaustive: an item whose prefix fell out of the beam is not found.
 * @throws EspalierError ESP_TIMEOUT, ESP_MODEL_OUTPUT
 */
export async function beamSearch(
  kernel: Kernel,
  model: Model,
  input: BeamSearchInput,
): Promise<BeamSearchResult> {
  const { trie, live, dead, beamWidth, normalize, temperature } = input;
  const [prefill] = await model.prefill([input.tokens]);
  const decoding = model.begin([prefill]);
  const batch = new StepBatch(1, beamWidth);
  batch.begin([{ constraint: { trie, live, dead }, beamWidth, normalize, temperature }]);
  let modelMs = 0;
  let constraintMs = 0;
  for (let depth = 0; depth < trie.levelCount; depth++) {
    if (performance.now() >= input.deadlineMs) {
      throw new EspalierError(
        'ESP_TIMEOUT',
        `the deadline passed before step ${depth} of ${trie.levelCount}`,
      );
    }
    const startMs = performance.now();
    const { data: logits, vocabSize } =
      depth === 0 ? { data: prefill.logits, vocabSize: model.vocabSize } : await advance(depth);
    const modelEndMs = performance.now();
    kernel.step(batch, { depth, logits, vocabSize, tokens: model.levelTokens[depth] });
    const fault = badLogitError(batch, 0, depth);
    if (fault !== undefined) throw fault;
    batch.advance(() => beamWidth);
    modelMs += modelEndMs - startMs;
    constraintMs += performance.now() - modelEndMs;
    if (batch.counts[0] === 0) break;
  }
  const count = batch.counts[0];
  return {
    leaves: batch.nodeLo.slice(0, count),
    scores: batch.scores.slice(0, count),
    modelMs,
    constraintMs,
  };

  /** Feeds the model the codes that the step before has kept. */
  function advance(depth: number) {
    const { parentBeams, codes } = batch;
    const count = batch.counts[0];
    const tokens = codes.slice(0, count).map((code) => tokenOf(model.levelTokens[depth - 1], code));
    const beams = { counts: batch.counts, parents: parentBeams, tokens };
    return decoding.advance(beams, depth === trie.levelCount - 1);
  }
}
