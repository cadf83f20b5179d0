import { BatchSearch } from '../../../src/decoder/batch-search.js';
import type { Model } from '../../../src/decoder/model.js';
import { type Constraint, type Kernel, type TrieArrays, tokenOf } from '../../../src/kernels/index.js';
import type { Rival } from '../../baselines/rival.js';

/** The beams that a decode ended on, best first. */
export interface Decoded {
  /** [beams] what each wrote: a token for each level. */
  sids: number[][];
  /** [beams] cumulative natural-log scores. */
  scores: Float32Array;
}

/** One shopper's history. */
export interface DecodeRequest {
  /** What the model reads. */
  tokens: readonly number[];
  /** The numbers of its items in the catalog. */
  items: readonly number[];
}

/** Decodes one request: reads its history, and searches. */
export type Decoder = (request: DecodeRequest) => Promise<Decoded>;

/** Ours, as the server decodes. @param constraintOf asked for each request, within its time */
export function ourDecoder(
  model: Model,
  kernel: Kernel,
  beamWidth: number,
  constraintOf: (request: DecodeRequest) => Constraint,
): Decoder {
  const search = new BatchSearch(kernel);
  const beamWidths = new Array<number>(model.levelTokens.length).fill(beamWidth);
  return async (asked) => {
    const constraint = constraintOf(asked);
    const [prefill] = await model.prefill([asked.tokens]);
    const request = { constraint, prefill, beamWidths, normalize: 'vocabulary', temperature: 1 } as const;
    const { results } = await search.run(model, [{ ...request, fault: () => undefined }]);
    const [result] = results;
    if (!('leaves' in result)) throw result;
    const { trie } = constraint;
    return {
      sids: Array.from(result.leaves, (leaf) => tokensOfLeaf(model, trie, leaf)),
      scores: result.scores,
    };
  };
}

/**
 * A rival of one request in the same place. It knows SIDs as the model writes them, in tokens, so that its codes are
 * columns of the logits.
 */
export function rivalDecoder(model: Model, rival: Rival, beamWidth: number): Decoder {
  const { batch } = rival;
  const levels = model.levelTokens.length;
  const { lo, hi } = rival.locate(0, new Uint32Array(0));
  return async ({ tokens }) => {
    const [prefill] = await model.prefill([tokens]);
    const decoding = model.begin([prefill]);
    const parents: Uint32Array[] = [];
    const codes: Uint32Array[] = [];
    let logits: { data: Float32Array; vocabSize: number; firstRows: ArrayLike<number> } = {
      data: prefill.logits,
      vocabSize: prefill.logits.length,
      firstRows: [0],
    };
    batch.beamCounts[0] = 1;
    batch.beamWidths[0] = beamWidth;
    batch.scores[0] = 0;
    batch.nodeLo[0] = lo;
    batch.nodeHi[0] = hi;
    for (let depth = 0; depth < levels; depth++) {
      const { data, vocabSize, firstRows } = logits;
      batch.firstRows.set(firstRows);
      rival.step({ depth, logits: data, vocabSize, tokens: { offset: 0 } });
      const count = batch.counts[0];
      parents.push(batch.parentBeams.slice(0, count));
      codes.push(batch.codes.slice(0, count));
      batch.advance(() => beamWidth);
      if (depth === levels - 1 || count === 0) break;
      const beams = { counts: Uint32Array.of(count), parents: parents[depth], tokens: codes[depth] };
      logits = await decoding.advance(beams, depth === levels - 2);
    }
    return { sids: trace(parents, codes, levels), scores: batch.scores.slice(0, batch.beamCounts[0]) };
  };
}

/** What each last beam wrote, from the last level back to the first. */
function trace(parents: readonly Uint32Array[], codes: readonly Uint32Array[], levels: number): number[][] {
  if (codes.length < levels) return [];
  return Array.from(codes[levels - 1], (_, rank) => {
    const sid = new Array<number>(levels);
    let beam = rank;
    for (let level = levels - 1; level >= 0; level--) {
      sid[level] = codes[level][beam];
      beam = parents[level][beam];
    }
    return sid;
  });
}

export function tokensOfLeaf(model: Model, { rows, levelCount }: TrieArrays, leaf: number): number[] {
  return Array.from({ length: levelCount }, (_, level) =>
    tokenOf(model.levelTokens[level], rows[leaf * levelCount + level]),
  );
}
