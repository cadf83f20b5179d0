import type { Prefill } from './contracts/contract.js';
import { historyTokens } from './history-tokens.js';
import type { Model } from './model.js';

/** Rows of the steps that are timed. */
const ROW_COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/** Beams of each request in them: where beams are many, requests gain little from each other. */
const BEAMS = 4;
/** More rows must gain at least so much of their throughput to be worth others' waiting. */
const WORTHWHILE = 1.1;
/** The first one warms up and doesn't count. */
const ROUNDS = 4;
const HISTORY_ITEMS = 20;
const BUDGET_MS = 400;

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
    const fastestMs = await timeStep(model, prefill, history[history.length - 1], rows);
    const rowsPerSecond = (rows * 1000) / fastestMs;
    measured.push({ rows, rowsPerSecond });
    if (rowsPerSecond >= best.rowsPerSecond * WORTHWHILE) best = { rows, rowsPerSecond };
    // One that gains nothing may have been disturbed; two in a row have not. The next one takes twice as long.
    const spentMs = performance.now() - startMs;
    if (rows > best.rows * 2 || spentMs + 2 * ROUNDS * fastestMs > BUDGET_MS) break;
  }
  return { bestRows: best.rows, measured };
}

async function timeStep(model: Model, prefill: Prefill, token: number, rows: number): Promise<number> {
  const beams = Math.min(rows, BEAMS);
  const requests = rows / beams;
  const counts = new Uint32Array(requests).fill(beams);
  const tokens = new Uint32Array(rows).fill(token);
  const parents = new Uint32Array(rows);
  let fastestMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = performance.now();
    const decoding = model.begin(new Array<Prefill>(requests).fill(prefill));
    await decoding.advance({ counts, parents, tokens }, true);
    if (round > 0) fastestMs = Math.min(fastestMs, performance.now() - startMs);
  }
  return fastestMs;
}

/** A history of a few items, all of code 0. */
function typicalHistory(model: Model): number[] {
  const { context, sid } = model.manifest;
  const item = new Array<number>(sid.codebookSizes.length).fill(0);
  return historyTokens(model, new Array(Math.min(context.maxItems, HISTORY_ITEMS)).fill(item));
}
