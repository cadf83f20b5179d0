import type { ModelRunner, Prefill } from '../../src/decoder/contracts/contract.js';
import { historyTokens } from '../../src/decoder/history-tokens.js';
import type { Model } from '../../src/decoder/model.js';
import { tokenOf } from '../../src/kernels/index.js';
import type { Random } from './random.js';

/** What one request asks a model: a history, then by step its beams. */
export interface RequestPlan {
  history: number[];
  steps: { parents: number[]; tokens: number[] }[];
}

/** Requests of random histories, widths, parents and tokens; some leave before the end, all at last. */
export function randomPlans(random: Random, model: Model, requests: number, maxWidth: number): RequestPlan[] {
  const { codebookSizes } = model.manifest.sid;
  const sid = () => codebookSizes.map((size) => random.below(size));
  const plans = Array.from({ length: requests }, (): RequestPlan => {
    const items = random.below(model.manifest.context.maxItems + 1);
    const history = historyTokens(model, Array.from({ length: Math.max(1, items) }, sid));
    const steps: RequestPlan['steps'] = [];
    let width = 1;
    for (let level = 1; level < codebookSizes.length; level++) {
      if (random.chance(0.15)) break;
      const beams = 1 + random.below(maxWidth);
      const parents = Array.from({ length: beams }, () => random.below(width));
      const tokens = parents.map(() =>
        tokenOf(model.levelTokens[level - 1], random.below(codebookSizes[level - 1])),
      );
      steps.push({ parents, tokens });
      width = beams;
    }
    return { history, steps };
  });
  return plans;
}

/** Decodes the requests in one batch. @returns by request: the first logits, then by step [beams, vocabSize] */
export async function decodeTogether(
  model: Model | ModelRunner,
  plans: readonly RequestPlan[],
): Promise<Float32Array[][]> {
  const prefills: Prefill[] = await model.prefill(plans.map(({ history }) => history));
  const found = prefills.map(({ logits }) => [logits]);
  const decoding = model.begin(prefills);
  const stepCount = Math.max(...plans.map(({ steps }) => steps.length));
  for (let step = 0; step < stepCount; step++) {
    const now = plans.map(({ steps }) => steps[step] ?? { parents: [], tokens: [] });
    const { data, vocabSize, firstRows } = await decoding.advance(
      {
        counts: Uint32Array.from(now, ({ parents }) => parents.length),
        parents: Uint32Array.from(now.flatMap(({ parents }) => parents)),
        tokens: Uint32Array.from(now.flatMap(({ tokens }) => tokens)),
      },
      step === stepCount - 1,
    );
    now.forEach(({ parents }, request) => {
      if (parents.length === 0) return;
      const start = firstRows[request] * vocabSize;
      found[request].push(data.slice(start, start + parents.length * vocabSize));
    });
  }
  return found;
}

/** The largest difference, relative to values above 1; Infinity where shapes differ. */
export function largestDifference(
  found: readonly Float32Array[][],
  expected: readonly Float32Array[][],
): number {
  let largest = 0;
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  found.forEach((steps, request) => {
    if (steps.length !== expected[request].length) largest = Number.POSITIVE_INFINITY;
    steps.forEach((logits, step) => {
      const others = expected[request][step];
      if (others?.length !== logits.length) largest = Number.POSITIVE_INFINITY;
      logits.forEach((value, index) => {
        const difference = Math.abs(value - others[index]) / Math.max(1, Math.abs(others[index]));
        // A comparison with NaN is false, and NaN must not pass.
        if (!(difference <= largest))
          largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      });
    });
  });
  return largest;
}
