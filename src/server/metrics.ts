import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { RecommendAnswer } from '../decoder/index.js';
import type { Kernel } from '../kernels/index.js';

/** From a microsecond: a constraint step is that short, and buckets must still reach a slow model. */
const SECONDS = [
  1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
  2, 5, 10,
];

/** Every metric that the server exports. `docs/metrics.md` lists them; a test keeps the two equal. */
export class Metrics {
  readonly registry = new Registry();

  readonly requestDuration = new Histogram({
    name: 'espalier_http_request_duration_seconds',
    help: 'Time from request to answer, by route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #queueWait = this.#stage(
    'espalier_recommend_queue_seconds',
    'Time a request waited for the decode engine.',
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
  readonly jobDuration = new Histogram({
    name: 'espalier_job_duration_seconds',
    help: 'Time that jobs ran, by kind and final state.',
    labelNames: ['kind', 'state'],
    buckets: [0.01, 0.1, 1, 10, 60, 600, 3600],
    registers: [this.registry],
  });

  constructor(kernel: Pick<Kernel, 'name' | 'stepName'>, queueLength: () => number) {
    collectDefaultMetrics({ register: this.registry });
    new Gauge({
      name: 'espalier_decode_queue_length',
      help: 'Requests that wait for the decode engine or are in it.',
      registers: [this.registry],
      collect() {
        this.set(queueLength());
      },
    });
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

  #stage(name: string, help: string): Histogram {
    return new Histogram({ name, help, buckets: SECONDS, registers: [this.registry] });
  }
}
