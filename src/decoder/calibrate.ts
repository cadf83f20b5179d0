import { historyTokens } from './history-tokens.js';
import type { Model } from './model.js';

/** Rows of the steps that are timed, one beam a request. */
const ROW_COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/** More rows must gain at least so much of their throughput to be worth others' waiting. */
const WORTHWHILE = 1.1;
const HISTORY_ITEMS = 20;
const ROUNDS = 3;
const BUDGET_MS = 250;

export interface Calibration {
  /** Rows of a step up to which its throughput grows. */
  bestRows: number;
  /** What was measured: rows a second of a step, by its rows. */
  measured: { rows: number; rowsPerSecond: number }[];
}

/**
 * How many rows are worth decoding together: a step is timed with ever more of them, until they gain nothing or the
 * time is spent. What a machine gains from wider steps depends on its cores, its caches and the model, so nothing but
 * measuring tells.
 */
export async function calibrate(model: Model): Promise<Calibration> {
  // The only step of such a model reads what prefilling made: rows cost nothing but the constraint.
  if (model.levelTokens.length === 1) return { bestRows: ROW_COUNTS.at(-1)!, measured: [] };
  const history = typicalHistory(model);
  const [prefill] = await model.prefill([history]);
  const measured: Calibration['measured'] = [];
  const startMs = performance.now();
  let best = { rows: 1, rowsPerSecond: 0 };
  for (const rows of ROW_COUNTS) {
    const counts = new Uint32Array(rows).fill(1);
    const tokens = new Uint32Array(rows).fill(history[history.length - 1]);
    const parents = new Uint32Array(rows);
    let fastestMs = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) {
      const decoding = model.begin(new Array(rows).fill(prefill));
      const beginMs = performance.now();
      await decoding.advance({ counts, parents, tokens }, true);
      fastestMs = Math.min(fastestMs, performance.now() - beginMs);
      if (performance.now() - startMs > BUDGET_MS) break;
    }
    const rowsPerSecond = (rows * 1000) / fastestMs;
    measured.push({ rows, rowsPerSecond });
    const isWorthwhile = rowsPerSecond >= best.rowsPerSecond * WORTHWHILE;
    if (isWorthwhile) best = { rows, rowsPerSecond };
    else if (rows > best.rows * 2) break;
    if (performance.now() - startMs > BUDGET_MS) break;
  }
  return { bestRows: best.rows, measured };
}

/** A history of a few items, all of code 0. */
function typicalHistory(model: Model): number[] {
  const { context, sid } = model.manifest;
  const item = new Array<number>(sid.codebookSizes.length).fill(0);
  return historyTokens(model, new Array(Math.min(context.maxItems, HISTORY_ITEMS)).fill(item));
}
