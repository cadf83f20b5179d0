import { type Counter, Histogram, type Registry } from 'prom-client';
import {
  type Recheck,
  type RecommendAnswer,
  type ShortfallCode,
  shortfallCodes,
  type ViolationKind,
  violationKinds,
} from '../../decoder/index.js';
import { SECONDS } from './buckets.js';
import { counterOf } from './counter-of.js';

const OUTCOMES = ['passed', 'partial', 'violated', 'failed'] as const;

/** The answers: how long their parts took, which fell short, and what a second look at them found. */
export class RecommendMetrics {
  readonly #queue: Histogram;
  readonly #model: Histogram;
  readonly #constraint: Histogram;
  readonly #total: Histogram;
  readonly #shortfalls: Counter<'code'>;
  readonly #rechecks: Counter<'outcome'>;
  readonly #violations: Counter<'kind'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const stage = (name: string, help: string) => new Histogram({ name, help, buckets: SECONDS, registers });
    this.#queue = stage('espalier_recommend_queue_seconds', 'Time a request waited for a decode engine.');
    this.#model = stage('espalier_recommend_model_seconds', 'Time in model runs, all steps of a request.');
    this.#constraint = stage(
      'espalier_recommend_constraint_seconds',
      'Time in the constraint, all steps of a request.',
    );
    this.#total = stage('espalier_recommend_total_seconds', 'Time from queueing to the answer.');
    this.#shortfalls = counterOf<'code', ShortfallCode>(registry, 'code', shortfallCodes, {
      name: 'espalier_recommend_shortfalls_total',
      help: 'Answers with fewer than k items, by code.',
    });
    this.#rechecks = counterOf<'outcome', (typeof OUTCOMES)[number]>(registry, 'outcome', OUTCOMES, {
      name: 'espalier_recommend_rechecks_total',
      help: 'Answers (a share of recheckShare) that were looked at again after they were sent; partial: but for their set.',
    });
    this.#violations = counterOf<'kind', ViolationKind>(registry, 'kind', violationKinds, {
      name: 'espalier_recommend_violations_total',
      help: 'Items of such answers that they should not have, by what forbids them; more than 0 is a fault.',
    });
  }

  recordAnswer({ timings, shortfall }: RecommendAnswer): void {
    this.#queue.observe(timings.queueMs / 1000);
    this.#model.observe(timings.modelMs / 1000);
    this.#constraint.observe(timings.constraintMs / 1000);
    this.#total.observe(timings.totalMs / 1000);
    if (shortfall !== undefined) this.#shortfalls.inc({ code: shortfall.code });
  }

  recordRecheck({ violations, isPartial, failure }: Recheck): void {
    const whole = isPartial ? 'partial' : 'passed';
    const outcome = failure !== undefined ? 'failed' : violations.length > 0 ? 'violated' : whole;
    this.#rechecks.inc({ outcome });
    for (const { kind } of violations) this.#violations.inc({ kind });
  }
}
