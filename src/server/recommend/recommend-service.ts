import type { EngineClient, RecommendAnswer } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { CatalogService } from '../catalogs/catalog-service.js';
import type { SetService } from '../constraint-sets/set-service.js';
import type { RecommendLog } from '../logs/recommend-log.js';
import type { Metrics } from '../metrics/index.js';
import type { RequestTrace } from '../tracing/tracing.js';
import { checkRequest } from './check-request.js';
import { IdsInFlight } from './ids-in-flight.js';
import { type RecommendRequest, toQuery } from './to-query.js';

export interface RecommendServiceDeps {
  catalogs: CatalogService;
  sets: SetService;
  engine: EngineClient;
  metrics: Metrics;
  log: RecommendLog;
  /** A request's time where it names none. */
  requestTimeoutMs: number;
}

export interface RecommendContext {
  requestId: string;
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal;
  /** Where the request is traced. */
  trace?: RequestTrace | undefined;
}

/** What one request of several came to. */
export type RecommendOutcome = { answer: RecommendAnswer } | { error: EspalierError };

/** The main job, for every protocol: a history and a constraint in, k allowed items out. */
export class RecommendService {
  readonly #deps: RecommendServiceDeps;
  readonly #ids = new IdsInFlight();

  constructor(deps: RecommendServiceDeps) {
    this.#deps = deps;
  }

  /**
   * @param request fits its schema
   * @throws EspalierError ESP_REQUEST_INVALID, ESP_BEAM_WIDTH, ESP_CATALOG_NOT_FOUND, ESP_ARTIFACT_CORRUPT on a set
   *   whose file is damaged, and as `EngineClient.recommend`
   */
  async recommend(request: RecommendRequest, context: RecommendContext): Promise<RecommendAnswer> {
    const { metrics, log } = this.#deps;
    const { requestId, trace } = context;
    const startMs = performance.now();
    const id = this.#ids.take(requestId);
    try {
      const answer = await this.#decode(request, { ...context, requestId: id });
      // The way to the engine and back is a part of what the client waits for.
      answer.timings.totalMs = performance.now() - startMs;
      metrics.recordAnswer(answer);
      log.answered(requestId, request.catalog, answer.timings);
      trace?.addDecode(answer.timings);
      return answer;
    } catch (thrown) {
      log.failed(requestId, request.catalog, EspalierError.from(thrown), performance.now() - startMs);
      throw thrown;
    } finally {
      this.#ids.free(id);
    }
  }

  async #decode(
    request: RecommendRequest,
    { requestId, signal }: RecommendContext,
  ): Promise<RecommendAnswer> {
    const { catalogs, sets, engine, requestTimeoutMs } = this.#deps;
    catalogs.get(request.catalog);
    const query = toQuery(request, requestId, requestTimeoutMs);
    const { set } = query.constraint;
    if (set !== undefined) {
      query.constraint = { ...query.constraint, set: sets.resolve(query.catalog, set) };
    }
    return engine.recommend(query, signal);
  }

  /**
   * Several requests, which decode together as far as they fit. Each fails alone: one that does not fit its schema, and
   * one for which the decode queue has no room left.
   * @param requests as they came, unchecked
   * @returns in their order
   */
  recommendBatch(requests: readonly unknown[], context: RecommendContext): Promise<RecommendOutcome[]> {
    const { requestId, signal } = context;
    return this.#deps.engine.together(() =>
      Promise.all(
        requests.map(async (request, index): Promise<RecommendOutcome> => {
          try {
            const named = { requestId: `${requestId}.${index}`, signal };
            return { answer: await this.recommend(checkRequest(request), named) };
          } catch (thrown) {
            const error = EspalierError.from(thrown);
            this.#deps.metrics.recordError(error.code);
            return { error };
          }
        }),
      ),
    );
  }
}
