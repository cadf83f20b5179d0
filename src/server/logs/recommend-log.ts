import type { Logger } from 'pino';
import type { Recheck, Timings } from '../../decoder/index.js';
import type { EspalierError } from '../../errors.js';

const MAX_LOGGED_VIOLATIONS = 10;

/** What is worth a line of recommend requests, by whatever protocol they came. */
export class RecommendLog {
  readonly #logger: Logger;
  readonly #slowRequestMs: number;

  /** @param slowRequestMs 0: nothing is slow */
  constructor(logger: Logger, slowRequestMs: number) {
    this.#logger = logger;
    this.#slowRequestMs = slowRequestMs;
  }

  answered(reqId: string, catalog: string, timings: Timings): void {
    if (!this.#isSlow(timings.totalMs)) return;
    this.#logger.warn({ reqId, catalog, timings }, 'a recommend request was slow');
  }

  failed(reqId: string, catalog: string, { code }: EspalierError, totalMs: number): void {
    if (!this.#isSlow(totalMs)) return;
    this.#logger.warn({ reqId, catalog, code, timings: { totalMs } }, 'a slow recommend request failed');
  }

  /** A second look has found items that the answer should not have, or could not be taken. */
  rechecked({ requestId: reqId, catalog, set, versions, violations, failure }: Recheck): void {
    if (failure !== undefined) {
      this.#logger.error(
        { reqId, catalog, set, versions, failure },
        'an answer could not be looked at again',
      );
    }
    if (violations.length === 0) return;
    const shown = violations.slice(0, MAX_LOGGED_VIOLATIONS);
    this.#logger.error(
      { reqId, catalog, set, versions, violations: shown, violationCount: violations.length },
      'an answer had items that it should not have',
    );
  }

  #isSlow(totalMs: number): boolean {
    return this.#slowRequestMs > 0 && totalMs >= this.#slowRequestMs;
  }
}
