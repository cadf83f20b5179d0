import { getHeapStatistics } from 'node:v8';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';
import type { Metrics } from '../metrics/index.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Requests of this route are refused while the server is under pressure. */
    isShed?: boolean;
  }
}

const SAMPLE_INTERVAL_MS = 100;
/** Of the newest sample in the average: a single hiccup is no pressure, a second of them is. */
const WEIGHT = 0.3;
/** Beyond this share of what V8 may use, collecting garbage takes more time than the requests do. */
const MAX_HEAP_SHARE = 0.95;
const RETRY_AFTER_SECONDS = 2;

/** Whether this thread falls behind, or its memory runs out. */
export class Pressure {
  readonly #maxDelayMs: number;
  readonly #timer: NodeJS.Timeout;
  #lastMs = performance.now();
  #delayMs = 0;
  #heapShare = 0;

  /** @param maxDelayMs how late the thread may be on average; 0: as late as it likes */
  constructor(maxDelayMs: number) {
    this.#maxDelayMs = maxDelayMs;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
    this.#timer.unref();
  }

  /** What is wrong, if anything is. */
  reason(): string | undefined {
    if (this.#maxDelayMs > 0 && this.#delayMs > this.#maxDelayMs) return 'the server falls behind';
    return this.#heapShare > MAX_HEAP_SHARE ? 'the server is short of memory' : undefined;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const nowMs = performance.now();
    const lateMs = Math.max(0, nowMs - this.#lastMs - SAMPLE_INTERVAL_MS);
    this.#lastMs = nowMs;
    this.#delayMs = this.#delayMs * (1 - WEIGHT) + lateMs * WEIGHT;
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    this.#heapShare = used / limit;
  }
}

/**
 * Refuses what makes work, by routes with `config.isShed`, while there is pressure. Health, readiness, metrics and
 * small changes are answered all the same: they are what an operator needs then.
 */
export function shedUnderPressure(
  app: FastifyInstance,
  pressure: Pressure,
  metrics: Pick<Metrics, 'refusals'>,
): void {
  app.addHook('onClose', async () => pressure.close());
  app.addHook('onRequest', (request, _reply, done) => {
    const reason = request.routeOptions.config.isShed === true ? pressure.reason() : undefined;
    if (reason === undefined) return done();
    metrics.refusals.inc({ reason: 'pressure' });
    done(
      new EspalierError('ESP_OVERLOADED', `the request is refused: ${reason}`, {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      }),
    );
  });
}
