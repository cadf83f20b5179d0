import type { Prefill } from './contracts/contract.js';
import { historyTokens } from './history-tokens.js';
import type { Model } from './model.js';

/** Rows of the steps that are timed. */
const ROW_COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/** Beams of each request in them: where beams are many, requests gain little from each other. */
const BEAMS = 4;
/** Fewer rows are enough where they reach so much of the best throughput: others wait less. */
const ENOUGH = 0.9;
const HISTORY_ITEMS = 20;
const BUDGET_MS = 400;
/** Enough for a small model, whose rounds are short. */
const MAX_ROUNDS = 10;
/** A step that takes more of the budget is the last one that is tried. */
const LONGEST_MS = BUDGET_MS / 10;

export interface Calibration {
  /** Rows of a step up to which its throughput grows. */
  bestRows: number;
  /** What was measured: rows a second of a step, by its rows. */
  measured: { rows: number; rowsPerSecond: number }[];
}

/**
 * How many rows are worth decoding together. What a machine gains from wider steps depends on its cores, its caches and
 * the model, so nothing but measuring tells: steps of ever more rows, round after round until the time is spent, and of
 * each the fastest, since whatever else runs can only slow it down.
 */
export async function calibrate(model: Model): Promise<Calibration> {
  // The only step of such a model reads what prefilling made: rows cost nothing but the constraint.
  if (model.levelTokens.length === 1) return { bestRows: ROW_COUNTS.at(-1)!, measured: [] };
  const history = typicalHistory(model);
  const [prefill] = await model.prefill([history]);
  const token = history[history.length - 1];
  const startMs = performance.now();
  const fastestMs = new Map<number, number>();
  let rowCounts = ROW_COUNTS;
  // The first round says how far to go: by the second step of each size, since the first one makes its buffers.
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (round > 0 && performance.now() - startMs > BUDGET_MS) break;
    for (const [index, rows] of rowCounts.entries()) {
      if (round === 0) await timeStep(model, prefill, token, rows);
      const tookMs = await timeStep(model, prefill, token, rows);
      fastestMs.set(rows, Math.min(tookMs, fastestMs.get(rows) ?? tookMs));
      if (round > 0 || tookMs <= LONGEST_MS) continue;
      rowCounts = ROW_COUNTS.slice(0, index + 1);
      break;
    }
  }
  const measured = rowCounts.map((rows) => ({ rows, rowsPerSecond: (rows * 1000) / fastestMs.get(rows)! }));
  const best = Math.max(...measured.map(({ rowsPerSecond }) => rowsPerSecond));
  const enough = measured.find(({ rowsPerSecond }) => rowsPerSecond >= best * ENOUGH)!;
  return { bestRows: enough.rows, measured };
}

async function timeStep(model: Model, prefill: Prefill, token: number, rows: number): Promise<number> {
  const beams = Math.min(rows, BEAMS);
  const requests = rows / beams;
  const counts = new Uint32Array(requests).fill(beams);
  const tokens = new Uint32Array(rows).fill(token);
  const parents = new Uint32Array(rows);
  const startMs = performance.now();
  const decoding = model.begin(new Array<Prefill>(requests).fill(prefill));
  await decoding.advance({ counts, parents, tokens }, true);
  return performance.now() - startMs;
}

/** A history of a few items, all of code 0. */
function typicalHistory(model: Model): number[] {
  const { context, sid } = model.manifest;
  const item = new Array<number>(sid.codebookSizes.length).fill(0);
  return historyTokens(model, new Array(Math.min(context.maxItems, HISTORY_ITEMS)).fill(item));
}
