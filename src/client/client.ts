import { recommendBulk } from './bulk.js';
import { BulkJobsClient } from './bulk-jobs.js';
import { CatalogsClient } from './catalogs.js';
import { ConstraintSetsClient } from './constraint-sets.js';
import { EspalierClientError } from './errors.js';
import { JobsClient } from './jobs.js';
import { ModelsClient } from './models.js';
import type { CallOptions, ClientOptions } from './options.js';
import { Transport } from './transport.js';
import type { BatchAnswer, Health, Readiness, RecommendAnswer, RecommendRequest } from './types.js';

/**
 * Speaks to an Espalier server over HTTP, from Node and from browsers. Calls that can be repeated are tried again after
 * a 429, a 503 or a lost connection, within one deadline; every call takes an AbortSignal.
 *
 * Every method throws EspalierClientError, or the reason of the caller's abort.
 */
export class EspalierClient {
  readonly catalogs: CatalogsClient;
  readonly constraintSets: ConstraintSetsClient;
  readonly models: ModelsClient;
  readonly jobs: JobsClient;
  readonly bulkJobs: BulkJobsClient;
  readonly #transport: Transport;

  constructor(options: ClientOptions) {
    this.#transport = new Transport(options);
    this.catalogs = new CatalogsClient(this.#transport);
    this.constraintSets = new ConstraintSetsClient(this.#transport);
    this.models = new ModelsClient(this.#transport);
    this.jobs = new JobsClient(this.#transport);
    this.bulkJobs = new BulkJobsClient(this.#transport);
  }

  /**
   * k allowed items, exactly ranked; fewer, with a `shortfall`, where there are no more.
   * @typeParam Attributes of the items, as `request.attributes` asks for them
   */
  recommend<Attributes extends object = Record<string, unknown>>(
    request: RecommendRequest,
    options?: CallOptions,
  ): Promise<RecommendAnswer<Attributes>> {
    const call = { method: 'POST', path: '/v1/recommend', json: request, isIdempotent: true } as const;
    return this.#transport.json(call, options);
  }

  /** Up to 64 requests in one call: for each an answer or an error, in their order. */
  async recommendBatch<Attributes extends object = Record<string, unknown>>(
    requests: readonly RecommendRequest[],
    options?: CallOptions,
  ): Promise<BatchAnswer<Attributes>[]> {
    const call = {
      method: 'POST',
      path: '/v1/recommend/batch',
      json: { requests },
      isIdempotent: true,
    } as const;
    type Answer = { responses: BatchAnswer<Attributes>[] };
    return (await this.#transport.json<Answer>(call, options)).responses;
  }

  /** Any number of requests: for each an answer or an error, in their order, as they are read. */
  recommendBulk<Attributes extends object = Record<string, unknown>>(
    requests: Iterable<RecommendRequest> | AsyncIterable<RecommendRequest>,
    options: CallOptions = {},
  ): AsyncGenerator<BatchAnswer<Attributes>, void, undefined> {
    return recommendBulk(this.#transport, requests, options);
  }

  /** Whether the process lives, and the kernels that it runs. */
  health(options?: CallOptions): Promise<Health> {
    return this.#transport.json({ method: 'GET', path: '/healthz', isIdempotent: true }, options);
  }

  /** Whether the server should get traffic, and why not. That it is not ready is an answer, and no error. */
  readiness(options: CallOptions = {}): Promise<Readiness> {
    const call = { method: 'GET', path: '/readyz', isIdempotent: true, answers: [503] } as const;
    return this.#transport.attempt(call, options, async (response) => {
      const text = await response.text();
      try {
        const { status, reasons, degraded = [] } = JSON.parse(text) as Omit<Readiness, 'isReady'>;
        if (Array.isArray(reasons)) return { isReady: response.ok, status, reasons, degraded };
      } catch {
        // A proxy's page.
      }
      throw new EspalierClientError('CLIENT_ANSWER', `${response.status}: no readiness`, {
        status: response.status,
      });
    });
  }

  /** Prometheus' text. */
  metrics(options?: CallOptions): Promise<string> {
    return this.#transport.text({ method: 'GET', path: '/metrics', isIdempotent: true }, options);
  }

  /** The OpenAPI document of the server. */
  openApi(options?: CallOptions): Promise<Record<string, unknown>> {
    return this.#transport.json({ method: 'GET', path: '/openapi.json', isIdempotent: true }, options);
  }
}
