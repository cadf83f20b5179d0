import { EspalierError } from '../errors.js';
import type { BatchReply } from './engine.js';
import type { RecommendAnswer, RecommendQuery } from './recommend-query.js';

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
  /** @param onStart gets what takes a request out of the batch under way. */
  run(
    queries: readonly RecommendQuery[],
    onStart: (cancel: (requestId: string) => void) => void,
  ): Promise<BatchReply>;
  /** Told of every batch that was decoded. */
  onBatch(batch: DecodedBatch): void;
}

/** A batch that was decoded: its requests, and their beams at the widest step. */
export interface DecodedBatch {
  requests: number;
  rows: number;
  /** Rows that it took of those that a batch may have: its requests times the widest beam, over the limit. */
  fill: number;
  reply: BatchReply;
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
 * always goes first, so that none starves.
 */
export class Batcher {
  readonly #options: BatcherOptions;
  /** Oldest first. */
  readonly #queue: Waiting[] = [];
  #decoding = 0;
  #timer: NodeJS.Timeout | undefined;
  /** How many requests the last batch had, and when it ended. */
  #lastSize = 0;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  /** A moving average, for what overloaded clients are told. */
  #msPerRequest = 0;

  constructor(options: BatcherOptions) {
    this.#options = options;
  }

  /** Requests that wait or are decoded. */
  get length(): number {
    return this.#queue.length + this.#decoding;
  }

  /**
   * @param model requests of one model decode together
   * @param signal aborted when nobody waits for the answer any more
   * @throws EspalierError ESP_OVERLOADED; ESP_TIMEOUT at the deadline, wherever the request is; ESP_CANCELLED;
   *   ESP_ENGINE_FAILED; what is wrong with the request
   */
  recommend(query: RecommendQuery, model: string, signal?: AbortSignal): Promise<RecommendAnswer> {
    if (this.length >= this.#options.queueLimit) throw this.#overloaded();
    if (signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the request was cancelled');
    return new Promise<RecommendAnswer>((resolve, reject) => {
      const { beamWidth, requestId } = query;
      const nowMs = performance.now();
      const end = (error: EspalierError) => {
        const index = this.#queue.indexOf(waiting);
        if (index >= 0) this.#queue.splice(index, 1);
        waiting.leave?.();
        waiting.settle(error);
      };
      const timer = setTimeout(
        () => end(new EspalierError('ESP_TIMEOUT', `request ${requestId} was not answered in time`)),
        query.deadlineAtMs - performance.timeOrigin - nowMs,
      );
      const onAbort = () => end(new EspalierError('ESP_CANCELLED', `request ${requestId} was cancelled`));
      signal?.addEventListener('abort', onAbort, { once: true });
      const waiting: Waiting = {
        query,
        model,
        rows: typeof beamWidth === 'number' ? beamWidth : Math.max(...beamWidth),
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

  /** Gives batches to engines as long as there are both. Called whenever there may be more of either. */
  dispatch(): void {
    clearTimeout(this.#timer);
    while (this.#queue.length > 0 && this.#options.hasIdleEngine()) {
      const batch = this.#nextBatch();
      const waitMs = this.#waitMs(batch);
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.dispatch(), waitMs);
        return;
      }
      for (const one of batch.requests) this.#queue.splice(this.#queue.indexOf(one), 1);
      void this.#decode(batch.requests);
    }
  }

  /** The oldest request, and those of its model that came next, while their rows fit. */
  #nextBatch(): { requests: Waiting[]; isFull: boolean } {
    const [oldest] = this.#queue;
    const maxRows = this.#options.maxRowsOf(oldest.model);
    const requests: Waiting[] = [];
    let widest = 0;
    for (const waiting of this.#queue) {
      if (waiting.model !== oldest.model) continue;
      const rows = (requests.length + 1) * Math.max(widest, waiting.rows);
      if (requests.length > 0 && rows > maxRows) return { requests, isFull: true };
      requests.push(waiting);
      widest = Math.max(widest, waiting.rows);
    }
    return { requests, isFull: requests.length * widest >= maxRows };
  }

  /** How long the batch should still wait for company. */
  #waitMs({ requests, isFull }: { requests: readonly Waiting[]; isFull: boolean }): number {
    const { maxWaitMs } = this.#options;
    const nowMs = performance.now();
    const isBusy = nowMs - this.#lastEndMs < maxWaitMs;
    if (isFull || !isBusy || requests.length >= this.#lastSize) return 0;
    return Math.max(0, requests[0].enqueuedMs + maxWaitMs - nowMs);
  }

  async #decode(requests: readonly Waiting[]): Promise<void> {
    this.#decoding += requests.length;
    const startMs = performance.now();
    try {
      const queries = requests.map(({ query }) => query);
      const reply = await this.#options.run(queries, (cancel) => {
        for (const one of requests) one.leave = () => cancel(one.query.requestId);
      });
      this.#options.onBatch({
        requests: requests.length,
        rows: requests.reduce((sum, { rows }) => sum + rows, 0),
        fill: this.#fillOf(requests),
        reply,
      });
      reply.results.forEach((result, index) => {
        requests[index].settle('error' in result ? EspalierError.fromPlain(result.error) : result.answer);
      });
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      for (const { settle } of requests) settle(error);
    } finally {
      this.#decoding -= requests.length;
      this.#lastSize = requests.length;
      this.#lastEndMs = performance.now();
      const tookMs = (this.#lastEndMs - startMs) / requests.length;
      this.#msPerRequest = this.#msPerRequest === 0 ? tookMs : this.#msPerRequest * 0.9 + tookMs * 0.1;
      this.dispatch();
    }
  }

  /** Above 1 where one request alone is wider than the limit. */
  #fillOf(requests: readonly Waiting[]): number {
    const widest = requests.reduce((most, { rows }) => Math.max(most, rows), 0);
    return (requests.length * widest) / this.#options.maxRowsOf(requests[0].model);
  }

  #overloaded(): EspalierError {
    const retryAfterSeconds = Math.min(60, Math.max(1, Math.ceil((this.length * this.#msPerRequest) / 1000)));
    return new EspalierError('ESP_OVERLOADED', `${this.length} requests are waiting already`, {
      retryAfterSeconds,
    });
  }
}
