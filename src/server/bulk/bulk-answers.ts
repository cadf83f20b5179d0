import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, EspalierError } from '../../errors.js';
import { GuardedInput } from '../guarded-input.js';
import { inOrder } from '../in-order.js';
import { shuttingDown } from '../jobs/embedded-queue.js';
import type { RecommendContext, RecommendService } from '../recommend/recommend-service.js';
import { isBlank, parseRequest } from './parse-request.js';
import { type RequestLine, requestLines } from './request-lines.js';
import { Slots } from './slots.js';

export interface BulkAnswersDeps {
  recommend: Pick<RecommendService, 'recommend'>;
  /** Requests of all streams together that decode at a time. */
  concurrency: number;
  maxLineBytes: number;
  idleTimeoutMs: number;
  /** Told of every line. */
  onLine: (outcome: LineOutcome) => void;
  /** Told of every error that is answered. */
  onError: (code: ErrorCode) => void;
  /** Makes of an error what callers may see of it. */
  publicError: (error: EspalierError, requestId: string) => object;
}

export type LineOutcome = 'answered' | 'failed';

export interface BulkContext extends RecommendContext {
  /** Whether the stream may still go on. @throws EspalierError where its key has ended since it began */
  recheck: () => void;
}

/** How long a line waits at most before it asks again, where the decode queue was full. */
const MAX_RETRY_MS = 500;

/**
 * Streams of requests, one a line, and of their answers in the same order. They take only a part of the decode queue,
 * so that single requests find room in it; where it is full all the same, their lines wait.
 */
export class BulkAnswers {
  readonly #deps: BulkAnswersDeps;
  readonly #slots: Slots;
  readonly #draining = new AbortController();

  constructor(deps: BulkAnswersDeps) {
    this.#deps = deps;
    this.#slots = new Slots(deps.concurrency);
    setMaxListeners(0, this.#draining.signal);
  }

  /** Streams take no more lines, answer those that they have, and end. */
  drain(): void {
    this.#draining.abort();
  }

  /**
   * Lines of answers to lines of requests, each with its line's number. No more lines are taken than the answers that
   * wait for their reader allow. Where the input ends before its end, the last line says why, without an answer.
   */
  async *answers(chunks: AsyncIterable<Buffer>, context: BulkContext): AsyncGenerator<string> {
    const { maxLineBytes, idleTimeoutMs, concurrency } = this.#deps;
    let pending = 0;
    const input = new GuardedInput(requestLines(chunks, maxLineBytes), {
      isBusy: () => pending > 0,
      look: (idleMs) => {
        if (this.#draining.signal.aborted) throw shuttingDown();
        context.recheck();
        if (idleMs < idleTimeoutMs) return;
        throw new EspalierError('ESP_UPLOAD_STALLED', `nothing came for ${idleTimeoutMs} ms`);
      },
    });
    let last = 0;
    const answered = inOrder(input, concurrency, async (line) => {
      last = line.number;
      if (isBlank(line)) return '';
      pending++;
      try {
        return await this.#answer(line, context);
      } finally {
        pending--;
      }
    });
    for await (const text of answered) {
      if (context.signal.aborted) return;
      if (text !== '') yield text;
    }
    if (input.ended === undefined || context.signal.aborted) return;
    yield this.#failure(last + 1, input.ended, context);
  }

  async #answer(line: RequestLine, stream: BulkContext): Promise<string> {
    const { recommend, maxLineBytes, onLine } = this.#deps;
    const { signal } = stream;
    const context = { requestId: `${stream.requestId}.${line.number}`, signal };
    try {
      const request = parseRequest(line, maxLineBytes);
      const answer = await this.#patiently(signal, () => recommend.recommend(request, context));
      onLine('answered');
      return `${JSON.stringify({ line: line.number, ...answer })}\n`;
    } catch (thrown) {
      onLine('failed');
      return this.#failure(line.number, thrown, stream);
    }
  }

  /** Whoever asks for much can wait: a full queue is no error of theirs. */
  async #patiently<Result>(signal: AbortSignal, ask: () => Promise<Result>): Promise<Result> {
    const draining = this.#draining.signal;
    for (;;) {
      try {
        return await this.#slots.run(async () => {
          if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the client went away');
          return ask();
        });
      } catch (thrown) {
        if (EspalierError.from(thrown).code !== 'ESP_OVERLOADED') throw thrown;
        if (draining.aborted) throw shuttingDown();
        await delay(Math.random() * MAX_RETRY_MS, undefined, {
          signal: AbortSignal.any([signal, draining]),
        }).catch(() => {});
      }
    }
  }

  #failure(line: number, thrown: unknown, { requestId, signal }: BulkContext): string {
    const error = EspalierError.from(thrown);
    // Nobody gets the answer of what was left.
    if (!signal.aborted) this.#deps.onError(error.code);
    return `${JSON.stringify({ line, error: this.#deps.publicError(error, requestId) })}\n`;
  }
}
