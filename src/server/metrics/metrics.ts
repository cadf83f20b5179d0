import { type Counter, collectDefaultMetrics, Registry } from 'prom-client';
import type { DecodedBatch, Recheck, RecommendAnswer } from '../../decoder/index.js';
import type { ErrorCode } from '../../errors.js';
import type { KernelFacts } from '../kernel-facts.js';
import { SecurityMetrics } from '../security/security-metrics.js';
import { type CatalogFacts, registerCatalogMetrics, type SetFreshness } from './catalog-metrics.js';
import { counterOf } from './counter-of.js';
import { DecodeMetrics, type DecodingNow } from './decode-metrics.js';
import { registerEventLoopMetrics } from './event-loop-metrics.js';
import { type EndedRequest, HttpMetrics } from './http-metrics.js';
import { jobDurationOf } from './job-metrics.js';
import { registerKernelMetrics } from './kernel-metrics.js';
import { RecommendMetrics } from './recommend-metrics.js';
import { registerRedisMetrics } from './redis-metrics.js';

/** Of what there can be too much. */
const refusalReasons = [
  'queue',
  'deadline',
  'pressure',
  'uploads',
  'jobs',
  'streams',
  'connections',
] as const;

/** What is asked at each scrape. */
export interface MetricsSources {
  kernel: KernelFacts;
  decoding: () => DecodingNow;
  sets: () => SetFreshness[];
  catalogs: () => CatalogFacts[];
  /** undefined for a server without Redis. */
  isRedisThere: (() => boolean) | undefined;
}

/**
 * Every metric that the server exports. `docs/metrics.md` lists them; a test keeps the two equal. Label values come
 * from lists that callers cannot make longer: route patterns, methods, codes, names of catalogs.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly security = new SecurityMetrics(this.registry);
  readonly #http = new HttpMetrics(this.registry);
  readonly #recommend = new RecommendMetrics(this.registry);
  readonly #decode: DecodeMetrics;

  readonly jobDuration = jobDurationOf(this.registry);

  readonly bulkRequests = counterOf(this.registry, 'outcome', ['answered', 'failed'], {
    name: 'espalier_bulk_requests_total',
    help: 'Requests of bulk streams and of bulk jobs that have ended, by outcome.',
  });

  readonly refusals = counterOf(this.registry, 'reason', refusalReasons, {
    name: 'espalier_refusals_total',
    help: 'Requests refused as too much, by what there was too much of.',
  });

  readonly setRefreshes = counterOf(this.registry, 'outcome', ['succeeded', 'failed'], {
    name: 'espalier_constraint_set_refreshes_total',
    help: 'Evaluations of constraint sets by themselves (refreshSeconds), by outcome.',
  });

  constructor({ kernel, decoding, sets, catalogs, isRedisThere }: MetricsSources) {
    collectDefaultMetrics({ register: this.registry });
    registerEventLoopMetrics(this.registry);
    registerCatalogMetrics(this.registry, sets, catalogs);
    this.#decode = new DecodeMetrics(this.registry, decoding);
    registerKernelMetrics(this.registry, kernel);
    if (isRedisThere !== undefined) registerRedisMetrics(this.registry, isRedisThere);
  }

  get requestDuration(): HttpMetrics['requestDuration'] {
    return this.#http.requestDuration;
  }

  get engineFailures(): Counter {
    return this.#decode.engineFailures;
  }

  recordRequest(request: EndedRequest, durationMs: number): void {
    this.#http.recordRequest(request, durationMs);
  }

  recordError(code: ErrorCode): void {
    this.#http.recordError(code);
  }

  recordAnswer(answer: RecommendAnswer): void {
    this.#recommend.recordAnswer(answer);
  }

  recordBatch(batch: DecodedBatch): void {
    this.#decode.recordBatch(batch);
  }

  recordRecheck(recheck: Recheck): void {
    this.#recommend.recordRecheck(recheck);
  }
}
