import { expect } from 'vitest';
import { type Model, openModel } from '../../src/decoder/model.js';
import type { LevelTokens, Normalization } from '../../src/kernels/index.js';
import { bruteForceStep, type Prefix } from './brute-force.js';
import type { PlainItem } from './small-catalog.js';

/** Scores that a batch of another shape computes may differ in the last digits. */
export const TOLERANCE = 1e-4;

export interface OracleRequest {
  /** What the model reads before the first code. */
  tokens: readonly number[];
  isAllowed(item: PlainItem): boolean;
  /** M of each step. */
  widths: readonly number[];
  normalize: Normalization;
  temperature: number;
}

export interface OracleStep {
  /** All live children, best first, and how many of them are kept. */
  children: Prefix[];
  keptCount: number;
}

/**
 * The beam search over a list of items, step by step, as plainly as possible: every prefix is read by the model from
 * its first token on, alone.
 */
export class DecodeOracle {
  readonly #model: Model;
  readonly #items: readonly PlainItem[];
  readonly #logits = new Map<string, Float32Array>();

  private constructor(model: Model, items: readonly PlainItem[]) {
    this.#model = model;
    this.#items = items;
  }

  static async open(folder: string, items: readonly PlainItem[]): Promise<DecodeOracle> {
    return new DecodeOracle(await openModel(folder, 1), items);
  }

  close(): Promise<void> {
    return this.#model.close();
  }

  get levelTokens(): readonly LevelTokens[] {
    return this.#model.levelTokens;
  }

  /** For models with `levelOffsets`, and a context that is long enough. */
  tokensOf(bos: number, ids: readonly string[]): number[] {
    const sids = ids.map((id) => this.#items.find((item) => item.id === id)!.sid);
    return [bos, ...sids.flatMap((sid) => sid.map((code, level) => this.#tokenOf(level, code)))];
  }

  async decode(request: OracleRequest): Promise<{ steps: OracleStep[]; ranked: RankedItem[] }> {
    const { codebookSizes } = this.#model.manifest.sid;
    const allowed = this.#items.filter((item) => request.isAllowed(item));
    const input = {
      codebookSizes,
      liveSids: allowed.map(({ sid }) => sid),
      tokens: this.#model.levelTokens,
      normalize: request.normalize,
      temperature: request.temperature,
    };
    let prefixes: Prefix[] = [{ codes: [], score: 0 }];
    const steps: OracleStep[] = [];
    for (const width of request.widths) {
      const rows: Float32Array[] = [];
      for (const { codes } of prefixes) rows.push(await this.#logitsAfter(request.tokens, codes));
      const { children } = bruteForceStep(input, prefixes, rows, Number.POSITIVE_INFINITY);
      prefixes = children.slice(0, width);
      steps.push({ children, keptCount: prefixes.length });
    }
    const ranked = prefixes.flatMap(({ codes, score }) =>
      allowed.filter(({ sid }) => sid.join() === codes.join()).map(({ id }) => ({ id, score })),
    );
    return { steps, ranked: ranked.sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1)) };
  }

  async #logitsAfter(tokens: readonly number[], codes: readonly number[]): Promise<Float32Array> {
    const sequence = [...tokens, ...codes.map((code, level) => this.#tokenOf(level, code))];
    const key = sequence.join();
    const known = this.#logits.get(key);
    if (known !== undefined) return known;
    const [{ logits }] = await this.#model.prefill([sequence]);
    this.#logits.set(key, logits);
    return logits;
  }

  #tokenOf(level: number, code: number): number {
    const tokens = this.#model.levelTokens[level];
    return 'table' in tokens ? tokens.table[code] : tokens.offset + code;
  }
}

interface RankedItem {
  id: string;
  score: number;
}

/** Whether two children at the edge of a beam are so close that another summation may keep the other one. */
export function isTooClose({ children, keptCount }: OracleStep): boolean {
  if (keptCount === 0 || keptCount === children.length) return false;
  return children[keptCount - 1].score - children[keptCount].score < TOLERANCE;
}

/**
 * The first k of the expected ones: equal scores at every rank, and equal items where no other one scores the same but
 * for the last digits.
 */
export function expectSameRanking(
  found: readonly RankedItem[],
  expected: readonly RankedItem[],
  k: number,
): void {
  expect(found.length).toBe(Math.min(k, expected.length));
  expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
  found.forEach(({ id, score }, rank) => {
    expect(Math.abs(score - expected[rank].score)).toBeLessThan(TOLERANCE);
    if (id === expected[rank].id) return;
    // Equal to the last digit means one leaf: there the ids decide.
    const isClose = (other: RankedItem) =>
      other.score !== expected[rank].score && Math.abs(other.score - score) < TOLERANCE;
    const alternatives = expected.filter(isClose).map((other) => other.id);
    expect(alternatives, `rank ${rank}`).toContain(id);
  });
}
