import { getHeapStatistics } from 'node:v8';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';

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
  readonly #onRefusal: () => void;

  /** @param maxDelayMs how late the thread may be on average; 0: as late as it likes */
  constructor(maxDelayMs: number, onRefusal: () => void) {
    this.#maxDelayMs = maxDelayMs;
    this.#onRefusal = onRefusal;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Lets work in, or not. @throws EspalierError ESP_OVERLOADED under pressure */
  admit(): void {
    const reason = this.#reason();
    if (reason === undefined) return;
    this.#onRefusal();
    throw new EspalierError('ESP_OVERLOADED', `the request is refused: ${reason}`, {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** What is wrong, if anything is. */
  #reason(): string | undefined {
    if (this.#maxDelayMs > 0 && this.#delayMs > this.#maxDelayMs) return 'the server falls behind';
    return this.#heapShare > MAX_HEAP_SHARE ? 'the server is short of memory' : undefined;
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
export function shedUnderPressure(app: FastifyInstance, pressure: Pressure): void {
  app.addHook('onRequest', async ({ routeOptions }) => {
    if (routeOptions.config.isShed === true) pressure.admit();
  });
}
