import { EspalierError } from '../errors.js';
import { type LevelTokens, tokenOf } from '../kernels/index.js';
import type { ModelRunner, Prefill } from './contracts/contract.js';
import { historyTokens } from './history-tokens.js';
import { checkLogits, checkVocabulary, firstLine, refuseMisfit } from './model-faults.js';
import type { ModelManifest } from './model-manifest.js';

/** What only running the model tells. */
export interface ProbeResult {
  vocabSize: number;
  batchesRagged: boolean;
}

/** How far logits in a batch may be from those of the history alone, relative to their size. */
const TOLERANCE = 1e-4;

/** What padding does, it does to the first two steps: before there is state of earlier steps, and with it. */
const RAGGED_STEPS = 2;

/**
 * Decodes once over the longest context that the manifest allows, with two beams; then a shorter history alone, and
 * both together.
 * @throws EspalierError ESP_MODEL_MISFIT, ESP_MODEL_OUTPUT
 */
export async function probe(
  manifest: ModelManifest,
  levelTokens: readonly LevelTokens[],
  runner: ModelRunner,
): Promise<ProbeResult> {
  const { name, context, sid } = manifest;
  const steps = sid.codebookSizes.length - 1;
  const longest = probeHistory(manifest, levelTokens, context.maxItems, 0);
  let vocabSize: number;
  let prefill: Prefill;
  let alone: Float32Array[][];
  try {
    // One small token first: a token beyond the vocabulary fails inside the graph, which names no field.
    const [first] = await runner.prefill([[longest.reduce((a, b) => Math.min(a, b))]]);
    vocabSize = first.logits.length;
    refuseMisfit(name, checkVocabulary(manifest, levelTokens, vocabSize));
    [prefill] = await runner.prefill([longest]);
    checkLogits(name, prefill.logits, 1, vocabSize);
    alone = await decode(runner, levelTokens, [prefill], [2], steps);
    for (const [logits] of alone) checkLogits(name, logits, 2, vocabSize);
  } catch (thrown) {
    if (thrown instanceof EspalierError) throw thrown;
    throw new EspalierError(
      'ESP_MODEL_MISFIT',
      `model ${name}: a decode over ${longest.length} tokens of context failed: ${firstLine(thrown)}`,
      {
        cause: thrown,
        details: [{ field: 'context.maxItems', expected: 'a decode that runs', found: firstLine(thrown) }],
      },
    );
  }
  const shorter = probeHistory(manifest, levelTokens, context.maxItems >>> 1, 1);
  // Histories of one length only, then: nothing tells what others would do.
  if (shorter.length === 0) return { vocabSize, batchesRagged: false };
  const batchesRagged = await keepsApart(runner, levelTokens, [prefill, shorter], alone);
  return { vocabSize, batchesRagged };
}

/** Whether a longer and a shorter history decode together to the logits that each has alone. */
async function keepsApart(
  runner: ModelRunner,
  levelTokens: readonly LevelTokens[],
  [longer, shorter]: readonly [Prefill, number[]],
  longerAlone: readonly Float32Array[][],
): Promise<boolean> {
  const steps = Math.min(RAGGED_STEPS, longerAlone.length);
  try {
    const [prefill] = await runner.prefill([shorter]);
    const alone = await decode(runner, levelTokens, [prefill], [1], steps);
    const together = await decode(runner, levelTokens, [longer, prefill], [2, 1], steps);
    return together.every(
      (logits, step) => areClose(logits[0], longerAlone[step][0]) && areClose(logits[1], alone[step][0]),
    );
  } catch {
    // A graph that cannot run such a batch can still run one history at a time.
    return false;
  }
}

/**
 * Follows code 0 of every level.
 * @param widths [requests] beams of each.
 * @returns by step and request: float32 [beams, vocabSize].
 */
async function decode(
  runner: ModelRunner,
  levelTokens: readonly LevelTokens[],
  prefills: readonly Prefill[],
  widths: readonly number[],
  steps: number,
): Promise<Float32Array[][]> {
  const decoding = runner.begin(prefills);
  const found: Float32Array[][] = [];
  for (let step = 0; step < steps; step++) {
    const beams = widths.flatMap((width) => Array.from({ length: width }, (_, beam) => beam));
    const { data, vocabSize, firstRows } = await decoding.advance(
      {
        counts: Uint32Array.from(widths),
        parents: step === 0 ? new Uint32Array(beams.length) : Uint32Array.from(beams),
        tokens: new Uint32Array(beams.length).fill(tokenOf(levelTokens[step], 0)),
      },
      step === levelTokens.length - 2,
    );
    found.push(
      widths.map((width, request) =>
        data.slice(firstRows[request] * vocabSize, (firstRows[request] + width) * vocabSize),
      ),
    );
  }
  return found;
}

/** A history of different items; its last has code `offset` everywhere, where the codebooks reach that far. */
function probeHistory(
  manifest: ModelManifest,
  levelTokens: readonly LevelTokens[],
  length: number,
  offset: number,
): number[] {
  const { codebookSizes } = manifest.sid;
  const items = Array.from({ length }, (_, index) =>
    codebookSizes.map((size, level) => ((length - 1 - index) * (7 + level) + offset) % size),
  );
  if (manifest.context.order === 'newestFirst') items.reverse();
  return historyTokens({ manifest, levelTokens }, items);
}

function areClose(found: Float32Array, expected: Float32Array): boolean {
  return (
    found.length === expected.length &&
    found.every((value, index) => {
      const other = expected[index];
      // -Infinity equals itself, and nothing else.
      return value === other || Math.abs(value - other) <= TOLERANCE * Math.max(1, Math.abs(other));
    })
  );
}
