import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DecodedBatch, RecommendAnswer } from '../decoder/index.js';
import type { Kernel } from '../kernels/index.js';
import { SecurityMetrics } from './security/security-metrics.js';

/** From a microsecond: a constraint step is that short, and buckets must still reach a slow model. */
const SECONDS = [
  1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
  2, 5, 10,
];

const POWERS_OF_TWO = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048];

/** How fresh the constraint sets of a catalog are. */
export interface SetFreshness {
  catalog: string;
  sets: number;
  /** Sets whose last refresh failed. */
  failing: number;
  /** Sets whose evaluation is older than it may become. */
  stale: number;
  /** Since the longest-ago evaluation of a set that refreshes itself. */
  oldestAgeSeconds: number;
}

/** Every metric that the server exports. `docs/metrics.md` lists them; a test keeps the two equal. */
export class Metrics {
  readonly registry = new Registry();
  readonly security = new SecurityMetrics(this.registry);

  readonly requestDuration = new Histogram({
    name: 'espalier_http_request_duration_seconds',
    help: 'Time from request to answer, by route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #queueWait = this.#stage(
    'espalier_recommend_queue_seconds',
    'Time a request waited for a decode engine.',
  );
  readonly #model = this.#stage(
    'espalier_recommend_model_seconds',
    'Time in model runs, all steps of a request.',
  );
  readonly #constraint = this.#stage(
    'espalier_recommend_constraint_seconds',
    'Time in the constraint, all steps of a request.',
  );
  readonly #total = this.#stage('espalier_recommend_total_seconds', 'Time from queueing to the answer.');
  readonly #shortfalls = new Counter({
    name: 'espalier_recommend_shortfalls_total',
    help: 'Answers with fewer than k items, by code.',
    labelNames: ['code'],
    registers: [this.registry],
  });
  readonly bulkRequests = new Counter({
    name: 'espalier_bulk_requests_total',
    help: 'Requests of bulk streams and of bulk jobs that have ended, by outcome.',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly jobDuration = new Histogram({
    name: 'espalier_job_duration_seconds',
    help: 'Time that jobs ran, by kind and final state.',
    labelNames: ['kind', 'state'],
    buckets: [0.01, 0.1, 1, 10, 60, 600, 3600],
    registers: [this.registry],
  });

  readonly setRefreshes = new Counter({
    name: 'espalier_constraint_set_refreshes_total',
    help: 'Evaluations of constraint sets by themselves (refreshSeconds), by outcome.',
    labelNames: ['outcome'],
    registers: [this.registry],
  });

  readonly #batchRequests = new Histogram({
    name: 'espalier_decode_batch_requests',
    help: 'Requests that decoded together.',
    buckets: POWERS_OF_TWO.slice(0, 8),
    registers: [this.registry],
  });
  readonly #batchRows = new Histogram({
    name: 'espalier_decode_batch_rows',
    help: 'Beams, of all requests, that decoded together.',
    buckets: POWERS_OF_TWO,
    registers: [this.registry],
  });
  readonly #prefillHits = new Counter({
    name: 'espalier_prefill_hits_total',
    help: 'Histories that a model had read before, or read once for several requests.',
    registers: [this.registry],
  });
  readonly refusals = new Counter({
    name: 'espalier_refusals_total',
    help: 'Requests refused as too much, by what there was too much of.',
    labelNames: ['reason'],
    registers: [this.registry],
  });
  readonly engineFailures = new Counter({
    name: 'espalier_decode_engine_failures_total',
    help: 'Decode engines that failed and were replaced.',
    registers: [this.registry],
  });

  constructor(
    kernel: Pick<Kernel, 'name' | 'stepName'>,
    decoding: () => { queueLength: number; engineCount: number },
    freshness: () => SetFreshness[],
  ) {
    collectDefaultMetrics({ register: this.registry });
    this.#gauge(
      'espalier_decode_queue_length',
      'Requests that wait for a decode engine or are in one.',
      () => decoding().queueLength,
    );
    this.#gauge('espalier_decode_engines', 'Decode engines that serve.', () => decoding().engineCount);
    const perCatalog: [string, string, (found: SetFreshness) => number][] = [
      ['espalier_constraint_sets', 'Constraint sets.', ({ sets }) => sets],
      [
        'espalier_constraint_sets_failing',
        'Constraint sets whose last refresh failed.',
        ({ failing }) => failing,
      ],
      [
        'espalier_constraint_sets_stale',
        'Constraint sets whose evaluation is older than their maxAgeSeconds.',
        ({ stale }) => stale,
      ],
      [
        'espalier_constraint_set_oldest_age_seconds',
        'Time since the oldest evaluation of a set that refreshes itself.',
        ({ oldestAgeSeconds }) => oldestAgeSeconds,
      ],
    ];
    for (const [name, help, read] of perCatalog) {
      new Gauge({
        name,
        help,
        labelNames: ['catalog'],
        registers: [this.registry],
        collect() {
          this.reset();
          for (const found of freshness()) this.set({ catalog: found.catalog }, read(found));
        },
      });
    }
    new Gauge({
      name: 'espalier_kernel_info',
      help: 'Always 1; the labels name the kernels that run: builds, sets and rules, and the decode step.',
      labelNames: ['kernel', 'step'],
      registers: [this.registry],
    }).set({ kernel: kernel.name, step: kernel.stepName }, 1);
  }

  recordAnswer({ timings, shortfall }: RecommendAnswer): void {
    this.#queueWait.observe(timings.queueMs / 1000);
    this.#model.observe(timings.modelMs / 1000);
    this.#constraint.observe(timings.constraintMs / 1000);
    this.#total.observe(timings.totalMs / 1000);
    if (shortfall !== undefined) this.#shortfalls.inc({ code: shortfall.code });
  }

  recordBatch({ requests, rows, reply }: DecodedBatch): void {
    this.#batchRequests.observe(requests);
    this.#batchRows.observe(rows);
    this.#prefillHits.inc(reply.prefillHits);
  }

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(read());
      },
    });
  }

  #stage(name: string, help: string): Histogram {
    return new Histogram({ name, help, buckets: SECONDS, registers: [this.registry] });
  }
}
