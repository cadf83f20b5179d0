import { EspalierError } from '../errors.js';
import type { Kernel } from '../kernels/index.js';
import type { ActiveCatalog } from './active-catalog.js';
import { answerOf } from './answer.js';
import { BatchSearch, type SearchResult } from './batch-search.js';
import { type DecodeReport, newReport } from './decode-report.js';
import { Explainer } from './explain.js';
import type { Model } from './model.js';
import type { PrefillCache } from './prefill-cache.js';
import { type PreparedRequest, prepareRequest } from './prepare-request.js';
import type { RecommendAnswer, RecommendQuery } from './recommend-query.js';

/** A request and the catalog version that it is pinned to. */
export interface PinnedQuery {
  catalog: ActiveCatalog;
  query: RecommendQuery;
}

/** What a batch came to. */
export interface BatchAnswers {
  /** In the requests' order. */
  answers: (RecommendAnswer | EspalierError)[];
  /** In the requests' order, as far as they could be prepared: what the answers are to be checked against. */
  requests: (PreparedRequest | undefined)[];
  report: DecodeReport;
}

/** Whether nobody waits for a request any more. */
export type IsCancelled = (requestId: string) => boolean;

const FOUND_NOTHING: SearchResult = { leaves: new Uint32Array(0), scores: new Float32Array(0) };
const NO_TIME = { prefillMs: 0, modelMs: 0, constraintMs: 0 };

/**
 * Answers requests together. What concerns one of them, such as a set that does not exist, a deadline or a bad logit,
 * is its own error and fails no other.
 */
export class Recommender {
  readonly #search: BatchSearch;
  readonly #prefills: PrefillCache;

  constructor(kernel: Kernel, prefills: PrefillCache) {
    this.#search = new BatchSearch(kernel);
    this.#prefills = prefills;
  }

  /** @throws what a model throws: then no request of the batch has an answer. */
  async answer(
    queries: readonly (PinnedQuery | EspalierError)[],
    isCancelled: IsCancelled,
  ): Promise<BatchAnswers> {
    const answers: (RecommendAnswer | EspalierError)[] = [];
    const requests: (PreparedRequest | undefined)[] = [];
    const report = newReport();
    const groups = new Map<string, { index: number; request: PreparedRequest }[]>();
    const modelNumbers = new Map<Model, number>();
    queries.forEach((pinned, index) => {
      const request =
        pinned instanceof EspalierError
          ? pinned
          : attempt(() => prepareRequest(pinned.catalog, pinned.query));
      requests[index] = request instanceof EspalierError ? undefined : request;
      if (request instanceof EspalierError) answers[index] = request;
      else if (request.allowedCount === 0) answers[index] = answerNothing(request);
      else {
        const { model } = request.catalog;
        if (!modelNumbers.has(model)) modelNumbers.set(model, modelNumbers.size);
        const length = model.batchesRagged ? 0 : request.tokens.length;
        const key = `${modelNumbers.get(model)}:${length}`;
        groups.set(key, [...(groups.get(key) ?? []), { index, request }]);
      }
    });
    for (const group of groups.values()) {
      const found = await this.#decode(
        group.map(({ request }) => request),
        isCancelled,
        report,
      );
      group.forEach(({ index }, position) => {
        answers[index] = found[position];
      });
    }
    return { answers, requests, report };
  }

  /** Requests of one model. */
  async #decode(
    requests: readonly PreparedRequest[],
    isCancelled: IsCancelled,
    report: DecodeReport,
  ): Promise<(RecommendAnswer | EspalierError)[]> {
    const { model } = requests[0].catalog;
    const answers: (RecommendAnswer | EspalierError | undefined)[] = requests.map((request) =>
      faultOf(request, isCancelled, 0),
    );
    const waiting = requests.flatMap((request, index) =>
      answers[index] === undefined ? [{ request, index }] : [],
    );
    if (waiting.length === 0) return answers as EspalierError[];
    const startMs = performance.now();
    const { prefills, hits } = await this.#prefills.prefill(
      model,
      waiting.map(({ request }) => request.tokens),
    );
    const prefillMs = performance.now() - startMs;
    report.prefillHits += hits;
    if (hits < waiting.length) report.prefillMs.push(prefillMs);
    const explainers = waiting.map(({ request }) => explainerOf(request));
    const { results, modelMs, constraintMs } = await this.#search.run(
      model,
      waiting.map(({ request }, position) => ({
        constraint: request.constraint,
        prefill: prefills[position],
        beamWidths: request.beamWidths,
        normalize: request.query.normalize,
        temperature: request.query.temperature,
        fault: (depth) => faultOf(request, isCancelled, depth),
        onStep: explainers[position] && ((step) => explainers[position]?.observe(step)),
      })),
      report,
    );
    const times = { prefillMs, modelMs: prefillMs + modelMs, constraintMs };
    waiting.forEach(({ request, index }, position) => {
      const result = results[position];
      answers[index] =
        result instanceof EspalierError
          ? named(request, result)
          : attempt(() => answerOf(request, result, times, explainers[position]));
    });
    return answers as (RecommendAnswer | EspalierError)[];
  }
}

/** One request's part, whose error is its own. */
function attempt<Result>(part: () => Result): Result | EspalierError {
  try {
    return part();
  } catch (thrown) {
    return EspalierError.from(thrown);
  }
}

function answerNothing(request: PreparedRequest): RecommendAnswer {
  return answerOf(request, FOUND_NOTHING, NO_TIME, explainerOf(request));
}

function explainerOf(request: PreparedRequest): Explainer | undefined {
  const { explain } = request.query;
  if (explain === undefined || explain === false) return undefined;
  return new Explainer(request, explain === true ? [] : explain.items);
}

/** Why a request must not go on. @param depth the step that comes next */
function faultOf(
  { query: { requestId }, deadlineMs, beamWidths }: PreparedRequest,
  isCancelled: IsCancelled,
  depth: number,
): EspalierError | undefined {
  if (isCancelled(requestId)) return new EspalierError('ESP_CANCELLED', 'the request was cancelled');
  if (performance.now() < deadlineMs) return undefined;
  return new EspalierError('ESP_TIMEOUT', `the deadline passed before step ${depth} of ${beamWidths.length}`);
}

function named({ query }: PreparedRequest, error: EspalierError): EspalierError {
  return new EspalierError(error.code, `request ${query.requestId}, ${error.message}`, {
    cause: error,
    ...(error.details && { details: error.details }),
  });
}
