import { EspalierError } from '../errors.js';
import { BatchCost } from './batch-cost.js';
import type { BatchReply } from './engine.js';
import { monotonicMs } from './monotonic-ms.js';
import type { RecommendAnswer, RecommendQuery } from './recommend-query.js';

/** Estimates are averages: what would only just be in time is not taken on. */
const CAUTION = 1.5;
const MAX_RETRY_AFTER_SECONDS = 60;

/** Why a request is refused: too many are there, or it could not be answered in time. */
export type Refusal = 'queue' | 'deadline';

export interface BatcherOptions {
  /** Requests that may wait or be decoded; further ones are refused. */
  queueLimit: number;
  /** How long the first request of a batch may wait for company that is likely to come. */
  maxWaitMs: number;
  /**
   * Rows that a batch of this model may have: its requests times the widest beam, since a model may have to pad the
   * others. One request always fits.
   */
  maxRowsOf(model: string): number;
  hasIdleEngine(): boolean;
  /** Engines that decode side by side. */
  engineCount(): number;
  /** @param onStart gets what takes a request out of the batch under way. */
  run(
    queries: readonly RecommendQuery[],
    onStart: (cancel: (requestId: string) => void) => void,
  ): Promise<BatchReply>;
  /** Told of every batch that was decoded. */
  onBatch(batch: DecodedBatch): void;
  /** Told of every request that is refused. */
  onRefusal(reason: Refusal): void;
}

/** A batch that was decoded: its requests, and their beams at the widest step. */
export interface DecodedBatch {
  requests: number;
  rows: number;
  /** Rows that it took of those that a batch may have: its requests times the widest beam, over the limit. */
  fill: number;
  reply: BatchReply;
}

/** Requests that are to decode together, or do. */
interface Batch {
  requests: Waiting[];
  widest: number;
  /** Another request of the model would not fit. */
  isFull: boolean;
}

interface Waiting {
  query: RecommendQuery;
  /** Requests of one model decode together. */
  model: string;
  rows: number;
  enqueuedMs: number;
  settle: (outcome: RecommendAnswer | EspalierError) => void;
  /** Set while it is decoded. */
  leave?: () => void;
}

/**
 * Lets requests of one model decode together. An idle engine takes a lone request at once. Where the last batch had
 * company, its clients are likely to come again: then the first waits for as many, but not long. The oldest request
 * always goes first, so that none starves. A request that would not be answered before its deadline is refused when it
 * comes: a client can do more with that than with a timeout, and so can the requests behind it.
 */
export class Batcher {
  readonly #options: BatcherOptions;
  /** Oldest first. */
  readonly #queue: Waiting[] = [];
  readonly #decoding = new Set<Batch>();
  #timer: NodeJS.Timeout | undefined;
  /** How many requests the last batch had, and when it ended. */
  #lastSize = 0;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  readonly #cost = new BatchCost();
  /** How many callers of `together` are still enqueueing. */
  #held = 0;

  constructor(options: BatcherOptions) {
    this.#options = options;
  }

  /** Requests that wait or are decoded. */
  get length(): number {
    let count = this.#queue.length;
    for (const { requests } of this.#decoding) count += requests.length;
    return count;
  }

  /**
   * @param model requests of one model decode together
   * @param signal aborted when nobody waits for the answer any more
   * @throws EspalierError ESP_OVERLOADED, where too many wait or it would not be answered in time; ESP_TIMEOUT at the
   *   deadline, wherever the request is; ESP_CANCELLED; ESP_ENGINE_FAILED; what is wrong with the request
   */
  recommend(query: RecommendQuery, model: string, signal?: AbortSignal): Promise<RecommendAnswer> {
    const { beamWidth, requestId } = query;
    const rows = typeof beamWidth === 'number' ? beamWidth : Math.max(...beamWidth);
    this.#admit(query, model, rows);
    if (signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the request was cancelled');
    return new Promise<RecommendAnswer>((resolve, reject) => {
      const nowMs = performance.now();
      const timer = setTimeout(
        () =>
          this.#end(
            waiting,
            new EspalierError('ESP_TIMEOUT', `request ${requestId} was not answered in time`),
          ),
        leftMs(query.deadlineAtMs),
      );
      const onAbort = () =>
        this.#end(waiting, new EspalierError('ESP_CANCELLED', `request ${requestId} was cancelled`));
      signal?.addEventListener('abort', onAbort, { once: true });
      const waiting: Waiting = {
        query,
        model,
        rows,
        enqueuedMs: nowMs,
        settle: (outcome) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          if (outcome instanceof EspalierError) reject(outcome);
          else resolve(outcome);
        },
      };
      this.#queue.push(waiting);
      this.dispatch();
    });
  }

  /** Takes requests that come at once: an idle engine does not begin with the first of them alone. */
  together<Result>(enqueue: () => Result): Result {
    this.#held++;
    try {
      return enqueue();
    } finally {
      this.#held--;
      this.dispatch();
    }
  }

  /** Gives batches to engines as long as there are both. Called whenever there may be more of either. */
  dispatch(): void {
    if (this.#held > 0) return;
    clearTimeout(this.#timer);
    if (this.#options.hasIdleEngine()) this.#refuseHopeless();
    while (this.#queue.length > 0 && this.#options.hasIdleEngine()) {
      const [batch] = this.#batches();
      const waitMs = this.#waitMs(batch);
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.dispatch(), waitMs);
        return;
      }
      for (const one of batch.requests) this.#queue.splice(this.#queue.indexOf(one), 1);
      void this.#decode(batch);
    }
  }

  /** What the queue comes to: the oldest request with those of its model that came next, while their rows fit; so on. */
  #batches(): Batch[] {
    const batches: Batch[] = [];
    const open = new Map<string, Batch>();
    for (const waiting of this.#queue) {
      const maxRows = this.#options.maxRowsOf(waiting.model);
      let batch = open.get(waiting.model);
      const widest = Math.max(batch?.widest ?? 0, waiting.rows);
      if (batch !== undefined && (batch.requests.length + 1) * widest > maxRows) {
        batch.isFull = true;
        batch = undefined;
      }
      if (batch === undefined) {
        batch = { requests: [], widest: 0, isFull: false };
        batches.push(batch);
        open.set(waiting.model, batch);
      }
      batch.requests.push(waiting);
      batch.widest = Math.max(batch.widest, waiting.rows);
      batch.isFull = batch.requests.length * batch.widest >= maxRows;
    }
    return batches;
  }

  /** How long the batch should still wait for company. */
  #waitMs({ requests, isFull }: Batch): number {
    const { maxWaitMs } = this.#options;
    const nowMs = performance.now();
    const isBusy = nowMs - this.#lastEndMs < maxWaitMs;
    if (isFull || !isBusy || requests.length >= this.#lastSize) return 0;
    return Math.max(0, requests[0].enqueuedMs + maxWaitMs - nowMs);
  }

  async #decode(batch: Batch): Promise<void> {
    this.#decoding.add(batch);
    const { requests } = batch;
    const startMs = performance.now();
    const [{ model }] = requests;
    const rows = rowsOf(requests);
    try {
      const queries = requests.map(({ query }) => query);
      const reply = await this.#options.run(queries, (cancel) => {
        for (const one of requests) one.leave = () => cancel(one.query.requestId);
      });
      this.#options.onBatch({
        requests: requests.length,
        rows,
        fill: this.#fillOf(batch),
        reply,
      });
      // Not what a failed one took: that says how long an engine hung.
      this.#cost.record(model, rows, performance.now() - startMs);
      reply.results.forEach((result, index) => {
        requests[index].settle('error' in result ? EspalierError.fromPlain(result.error) : result.answer);
      });
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      for (const { settle } of requests) settle(error);
    } finally {
      this.#decoding.delete(batch);
      this.#lastSize = requests.length;
      this.#lastEndMs = performance.now();
      this.dispatch();
    }
  }

  /** Above 1 where one request alone is wider than the limit. */
  #fillOf({ requests, widest }: Batch): number {
    return (requests.length * widest) / this.#options.maxRowsOf(requests[0].model);
  }

  /** Ends a request before it has its answer, wherever it is. */
  #end(waiting: Waiting, error: EspalierError): void {
    const index = this.#queue.indexOf(waiting);
    if (index >= 0) this.#queue.splice(index, 1);
    waiting.leave?.();
    waiting.settle(error);
  }

  /** @throws EspalierError ESP_OVERLOADED */
  #admit({ deadlineAtMs }: RecommendQuery, model: string, rows: number): void {
    const { queueLimit, hasIdleEngine } = this.#options;
    if (this.length >= queueLimit)
      throw this.#refusal('queue', `${this.length} requests are waiting already`);
    // Whatever an estimate says, an idle engine tries: otherwise a wrong one would never be corrected.
    if (this.#queue.length === 0 && hasIdleEngine()) return;
    const neededMs = (this.#backlogMs() + this.#cost.batchMs(model, rows)) * CAUTION;
    if (neededMs > leftMs(deadlineAtMs)) throw this.#refusal('deadline', 'it would not be answered in time');
  }

  /**
   * Those that would time out in the engine make room for those behind them. The last is left: whether an estimate is
   * still right shows only where something is decoded.
   */
  #refuseHopeless(): void {
    for (const waiting of [...this.#queue]) {
      if (this.#queue.length <= 1) return;
      const { query, model, rows } = waiting;
      if (leftMs(query.deadlineAtMs) >= this.#cost.batchMs(model, rows) * CAUTION) continue;
      this.#end(waiting, this.#refusal('deadline', 'it can not be answered in time any more'));
    }
  }

  /** How long engines will be busy with what is there. */
  #backlogMs(): number {
    const sumMs = [...this.#decoding, ...this.#batches()].reduce(
      (sum, { requests }) => sum + this.#cost.batchMs(requests[0].model, rowsOf(requests)),
      0,
    );
    return sumMs / Math.max(1, this.#options.engineCount());
  }

  #refusal(reason: Refusal, why: string): EspalierError {
    this.#options.onRefusal(reason);
    const seconds = Math.ceil(this.#backlogMs() / 1000);
    const retryAfterSeconds = Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, seconds));
    return new EspalierError('ESP_OVERLOADED', `the request is refused: ${why}`, { retryAfterSeconds });
  }
}

function rowsOf(requests: readonly Waiting[]): number {
  return requests.reduce((sum, { rows }) => sum + rows, 0);
}

function leftMs(deadlineAtMs: number): number {
  return deadlineAtMs - monotonicMs();
}
