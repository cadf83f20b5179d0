import type { RecommendAnswer } from '../../decoder/index.js';
import type { EspalierError } from '../../errors.js';
import { type Spread, spreadOf } from './spread.js';

/** An answer as the one who asked saw it. */
export interface Sample {
  answer: RecommendAnswer;
  /** From asking to having it. */
  totalMs: number;
}

/** What is known of one constraint, asked for in one way. */
export interface CellSummary {
  /** Times of so many answers are below. */
  samples: number;
  /** Why answers had fewer items than asked for, and how often; empty ones among them. */
  short: Record<string, number>;
  empty: number;
  /** Why requests had no answer, and how often. */
  failed: Record<string, number>;
  totalMs: Spread;
  modelMs: Spread;
  constraintMs: Spread;
  /** Of the time in the engine, what went into the constraint: the median over the answers; null of none. */
  constraintShare: number | null;
  /** Answers by the time that they took one after the other, or together. */
  answersPerSecond: number | null;
}

/** Of fewer answers a half says little of how long answers take. */
const LEAST_HALF = 20;

/** Times and outcomes of one constraint, asked for in one way. */
export class Cell {
  readonly #totalMs: number[] = [];
  readonly #modelMs: number[] = [];
  readonly #constraintMs: number[] = [];
  readonly #shares: number[] = [];
  readonly #short: Record<string, number> = {};
  readonly #failed: Record<string, number> = {};
  #empty = 0;
  #busyMs = 0;
  firstFailure: EspalierError | undefined;

  add({ answer: { items, shortfall, timings }, totalMs }: Sample): void {
    const { queueMs, modelMs, constraintMs, totalMs: inServerMs } = timings;
    this.#totalMs.push(totalMs);
    this.#modelMs.push(modelMs);
    this.#constraintMs.push(constraintMs);
    this.#shares.push(constraintMs / (inServerMs - queueMs));
    if (items.length === 0) this.#empty++;
    if (shortfall !== undefined) increment(this.#short, shortfall.code);
  }

  fail(error: EspalierError): void {
    this.firstFailure ??= error;
    increment(this.#failed, error.code);
  }

  /** What the answers that were added since the last call took in all. */
  addBusy(ms: number): void {
    this.#busyMs += ms;
  }

  /** How many times as long the later half of the answers took as the earlier one; null of too few. */
  get drift(): number | null {
    const half = this.#totalMs.length >>> 1;
    if (half < LEAST_HALF) return null;
    const medianOf = (values: readonly number[]) => spreadOf(values).p50!;
    return medianOf(this.#totalMs.slice(half)) / medianOf(this.#totalMs.slice(0, half));
  }

  summary(): CellSummary {
    const samples = this.#totalMs.length;
    return {
      samples,
      short: this.#short,
      empty: this.#empty,
      failed: this.#failed,
      totalMs: spreadOf(this.#totalMs),
      modelMs: spreadOf(this.#modelMs),
      constraintMs: spreadOf(this.#constraintMs),
      constraintShare: spreadOf(this.#shares).p50,
      answersPerSecond: samples === 0 ? null : (samples * 1000) / this.#busyMs,
    };
  }
}

function increment(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}
