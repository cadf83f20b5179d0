import { setTimeout } from 'node:timers/promises';
import {
  monotonicMs,
  type QueryConstraint,
  type RecommendAnswer,
  type RecommendQuery,
} from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { Progress } from '../../static-trie/index.js';
import { Cell, type Sample } from './cells.js';

/** Nobody gives up on an answer here. */
const TIMEOUT_MS = 600_000;
/** Of the time, what goes into answers that are checked and not timed. */
const WARM_UP_SHARE = 0.25;
const MAX_WARM_UP_MS = 5_000;

/** What requests are decoded under. */
export interface Row {
  label: string;
  /** undefined: as the request says. */
  constraint: QueryConstraint | undefined;
}

/** What answers requests; requests that come `together` may decode as batches. */
export interface Asked {
  recommend(query: RecommendQuery): Promise<RecommendAnswer>;
  together<Result>(enqueue: () => Result): Result;
}

export interface RoundOptions {
  engine: Asked;
  rows: readonly Row[];
  queries: readonly RecommendQuery[];
  /** Requests that come together. */
  togetherCount: number;
  /** So long an engine may wait for company for a request that comes right behind a batch. */
  batchWaitMs: number;
  seconds: number;
  /** Throws where an answer is wrong. */
  check: (query: RecommendQuery, answer: RecommendAnswer, label: string) => void;
  /** Once a round, for what is measured beside the answers. */
  beside: () => void;
  /** Told when requests begin to come together, and when they end. */
  onTogether: (isTogether: boolean) => void;
  onProgress: Progress;
  signal: AbortSignal;
}

/** What was measured of one row. */
export interface MeasuredRow {
  row: Row;
  alone: Cell;
  together: Cell;
}

export interface Measured {
  rows: MeasuredRow[];
  rounds: number;
  measuredMs: number;
}

/** What one round has found, kept only once the round is whole. */
type Finding = { cell: Cell; busyMs: number; outcomes: (Sample | EspalierError)[] };

/**
 * Asks all rows for the same requests in turns, so that whatever slows the machine down for a while slows all alike:
 * each request alone under every row, then all of a group together under every row. Rows take turns in being first.
 * Answers are checked outside the clock, those of the warm-up and the timed ones. One round at least is whole, however
 * long it takes, unless `signal` ends it; a round that is not whole is left out.
 */
export async function measureRounds(options: RoundOptions): Promise<Measured> {
  const { rows, seconds, onProgress, signal } = options;
  const warmUpMs = Math.min(seconds * 1000 * WARM_UP_SHARE, MAX_WARM_UP_MS);
  const timedMs = seconds * 1000 - warmUpMs;
  const asking = new Asking(options);
  const pass = async (phase: string, limitMs: number, cells: readonly MeasuredRow[]) => {
    const startMs = performance.now();
    const elapsedMs = () => performance.now() - startMs;
    let rounds = 0;
    let measuredMs = 0;
    while (!signal.aborted && (rounds === 0 || elapsedMs() < limitMs)) {
      const onPart = (part: number) => {
        onProgress(phase, Math.min(1, Math.max(elapsedMs() / limitMs, rounds === 0 ? part : 0)));
      };
      const findings = await asking.round(cells, onPart);
      if (findings === undefined) break;
      findings.forEach(keep);
      rounds++;
      measuredMs = elapsedMs();
    }
    return { rounds, measuredMs };
  };
  await pass('checking', warmUpMs, newCells(rows));
  const cells = newCells(rows);
  return { rows: cells, ...(await pass('measuring', timedMs, cells)) };
}

class Asking {
  readonly #options: RoundOptions;
  #turn = 0;
  #asked = 0;

  constructor(options: RoundOptions) {
    this.#options = options;
  }

  /** @returns undefined where it was interrupted */
  async round(rows: readonly MeasuredRow[], onPart: (part: number) => void): Promise<Finding[] | undefined> {
    const { queries, togetherCount, batchWaitMs, signal, beside, onTogether } = this.#options;
    const findings: Finding[] = [];
    const first = this.#turn++ * togetherCount;
    const group = Array.from({ length: togetherCount }, (_, index) => {
      return queries[(first + index) % queries.length];
    });
    const parts = rows.length * (togetherCount + 1);
    const take = async (cell: Cell, row: Row, asked: readonly RecommendQuery[]) => {
      findings.push({ cell, ...(await this.#ask(row, asked)) });
      onPart(findings.length / parts);
    };
    // A lone request right behind a batch would wait for company.
    await setTimeout(batchWaitMs + 1);
    beside();
    for (const [index, query] of group.entries()) {
      for (const { row, alone } of rotated(rows, this.#turn + index)) {
        if (signal.aborted) return undefined;
        await take(alone, row, [query]);
      }
    }
    if (togetherCount === 1) return findings;
    onTogether(true);
    try {
      for (const { row, together } of rotated(rows, this.#turn)) {
        if (signal.aborted) return undefined;
        await take(together, row, group);
      }
    } finally {
      onTogether(false);
    }
    return findings;
  }

  async #ask({ label, constraint }: Row, queries: readonly RecommendQuery[]) {
    const { engine, check } = this.#options;
    const startMs = performance.now();
    const pending = engine.together(() =>
      queries.map((query) => {
        const askedMs = performance.now();
        const enqueuedAtMs = monotonicMs();
        const asked: RecommendQuery = {
          ...query,
          ...(constraint && { constraint }),
          requestId: `${query.requestId}, ${this.#asked++}`,
          enqueuedAtMs,
          deadlineAtMs: enqueuedAtMs + TIMEOUT_MS,
        };
        return engine.recommend(asked).then(
          (answer) => ({ answer, totalMs: performance.now() - askedMs, asked }),
          (thrown: unknown) => EspalierError.from(thrown),
        );
      }),
    );
    const outcomes = await Promise.all(pending);
    const busyMs = performance.now() - startMs;
    outcomes.forEach((outcome, index) => {
      if (outcome instanceof EspalierError) return;
      const { requestId } = queries[index];
      check({ ...outcome.asked, requestId }, outcome.answer, label);
    });
    return { busyMs, outcomes };
  }
}

function keep({ cell, busyMs, outcomes }: Finding): void {
  cell.addBusy(busyMs);
  for (const outcome of outcomes) {
    if (outcome instanceof EspalierError) cell.fail(outcome);
    else cell.add(outcome);
  }
}

function newCells(rows: readonly Row[]): MeasuredRow[] {
  return rows.map((row) => ({ row, alone: new Cell(), together: new Cell() }));
}

function rotated<Value>(values: readonly Value[], by: number): Value[] {
  const start = by % values.length;
  return [...values.slice(start), ...values.slice(0, start)];
}
