import { EspalierError } from '../errors.js';
import type { PreparedRequest } from './prepare-request.js';
import { type Recheck, recheck } from './recheck.js';
import type { RecommendAnswer } from './recommend-query.js';

/** Answers that wait for their second look; further ones go without. */
const MAX_WAITING = 16;

/**
 * Gives a share of the answers a second look, after they have been sent: one at a time, so that what it takes is
 * bounded, and only while few wait for it.
 */
export class AnswerRechecks {
  readonly #share: number;
  readonly #onRecheck: (recheck: Recheck) => void;
  readonly #waiting: { request: PreparedRequest; answer: RecommendAnswer }[] = [];
  #isScheduled = false;

  /** @param share of the answers that are looked at, 0 to 1 */
  constructor(share: number, onRecheck: (recheck: Recheck) => void) {
    this.#share = share;
    this.#onRecheck = onRecheck;
  }

  /** Called with every batch. */
  sample(
    requests: readonly (PreparedRequest | undefined)[],
    answers: readonly (RecommendAnswer | EspalierError)[],
  ): void {
    if (this.#share === 0) return;
    requests.forEach((request, index) => {
      const answer = answers[index];
      if (request === undefined || !('items' in answer) || this.#waiting.length >= MAX_WAITING) return;
      if (Math.random() < this.#share) this.#waiting.push({ request, answer });
    });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    // The reply to the batch goes first.
    setImmediate(() => {
      this.#isScheduled = false;
      const { request, answer } = this.#waiting.shift()!;
      this.#onRecheck(recheckSafely(request, answer));
      this.#schedule();
    });
  }
}

/** What goes wrong here must not end the engine. */
function recheckSafely(request: PreparedRequest, answer: RecommendAnswer): Recheck {
  try {
    return recheck(request, answer);
  } catch (thrown) {
    const { requestId, catalog, constraint } = request.query;
    const { versions, items } = answer;
    const failure = EspalierError.from(thrown).message;
    return {
      requestId,
      catalog,
      versions,
      set: constraint.set,
      items: items.length,
      isPartial: true,
      failure,
      violations: [],
    };
  }
}
