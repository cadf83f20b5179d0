import { BestChildren } from './best-children.js';
import { ChildList, listLiveChildren } from './children.js';
import { fromFloat16 } from './float16.js';
import { jsSets } from './js-sets.js';
import type { Kernel, StepInput } from './kernel.js';
import { BadLogit, logSumExp, normalizations, scaledLogit, tokenOf } from './log-probs.js';
import { scan } from './scan.js';
import type { StepBatch } from './step-batch.js';
import { checkStep } from './step-checks.js';

/** The step in plain JavaScript over typed arrays: always there, and the reference for every other kernel. */
export function createJsKernel(): Kernel {
  return { name: 'js', stepName: 'js', sets: jsSets, scan, step: (batch, input) => jsStep(batch, input) };
}

/**
 * @param normalizers [beams] to be taken instead of computed, where they are not NaN: what another kernel found, so that
 *   winners and order can be compared exactly.
 */
export function jsStep(batch: StepBatch, input: StepInput, normalizers?: Float32Array): void {
  checkStep(batch, input);
  const children = new ChildList();
  let firstBeam = 0;
  let firstChild = 0;
  for (let request = 0; request < batch.requestCount; request++) {
    stepRequest(batch, input, { request, firstBeam, firstChild, children, normalizers });
    firstBeam += batch.beamCounts[request];
    firstChild += batch.beamWidths[request];
  }
}

interface Place {
  request: number;
  firstBeam: number;
  firstChild: number;
  children: ChildList;
  normalizers: Float32Array | undefined;
}

function stepRequest(batch: StepBatch, input: StepInput, place: Place): void {
  const { request, firstBeam, firstChild, children, normalizers } = place;
  const { trie, live, dead } = batch.constraints[request];
  const best = new BestChildren(batch.beamWidths[request]);
  batch.badBeams[request] = -1;
  batch.counts[request] = 0;
  for (let beam = 0; beam < batch.beamCounts[request]; beam++) {
    const index = firstBeam + beam;
    listLiveChildren(trie, input.depth, batch.nodeLo[index], batch.nodeHi[index], live, dead, children);
    const row = readRow(batch, input, request, beam);
    try {
      const given = normalizers?.[index] ?? Number.NaN;
      batch.normalizers[index] = Number.isNaN(given)
        ? normalizerOf(batch, input, request, row, children)
        : given;
    } catch (thrown) {
      if (!(thrown instanceof BadLogit)) throw thrown;
      batch.badBeams[request] = beam;
      batch.badTokens[request] = thrown.index;
      batch.badValues[request] = thrown.value;
      return;
    }
    offerChildren(batch, input, index, beam, row, children, best);
  }
  batch.counts[request] = best.drainInto(batch, firstChild);
}

/** One beam's logits as float32, divided by the temperature. */
function readRow(
  batch: StepBatch,
  { logits, vocabSize }: StepInput,
  request: number,
  beam: number,
): Float32Array {
  const start = (batch.firstRows[request] + beam) * vocabSize;
  const temperature = batch.temperatures[request];
  const row = logits.subarray(start, start + vocabSize);
  if (row instanceof Float32Array && temperature === 1) return row;
  const values = row instanceof Float32Array ? row : Float32Array.from(row, fromFloat16);
  return values.map((logit) => scaledLogit(logit, temperature));
}

/** Scores the live children of one beam, in ascending order of their codes. */
function offerChildren(
  batch: StepBatch,
  { tokens }: StepInput,
  index: number,
  beam: number,
  row: Float32Array,
  children: ChildList,
  best: BestChildren,
): void {
  for (let child = 0; child < children.count; child++) {
    const code = children.codes[child];
    const logit = row[tokenOf(tokens, code)];
    if (logit === Number.NEGATIVE_INFINITY) continue;
    // Float32 after each operation, as every kernel computes it; adding 0 makes −0 +0.
    const score = Math.fround(batch.scores[index] + Math.fround(logit - batch.normalizers[index])) + 0;
    best.offer(score, beam, code, children.lo[child], children.hi[child]);
  }
}

/** logSumExp over the logits that the normalization reads. @throws BadLogit with its token as the index */
function normalizerOf(
  batch: StepBatch,
  { depth, tokens }: StepInput,
  request: number,
  row: Float32Array,
  children: ChildList,
): number {
  const normalize = normalizations[batch.normalizations[request]];
  if (normalize === 'vocabulary') return logSumExp(row);
  const isLevel = normalize === 'level';
  const count = isLevel ? batch.constraints[request].trie.codebookSizes[depth] : children.count;
  const tokenAt = (index: number) => tokenOf(tokens, isLevel ? index : children.codes[index]);
  try {
    if (isLevel && 'offset' in tokens) return logSumExp(row.subarray(tokens.offset, tokens.offset + count));
    const values = new Float32Array(count);
    for (let index = 0; index < count; index++) values[index] = row[tokenAt(index)];
    return logSumExp(values);
  } catch (thrown) {
    throw thrown instanceof BadLogit ? new BadLogit(tokenAt(thrown.index), thrown.value) : thrown;
  }
}
