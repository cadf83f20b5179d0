import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { DecodedBatch } from '../../decoder/index.js';
import { powersOfTwo, SECONDS } from './buckets.js';

/** What the decode engines are asked at each scrape. */
export interface DecodingNow {
  queueLength: number;
  engineCount: number;
}

/** The engines and their batches, step by step. */
export class DecodeMetrics {
  readonly engineFailures: Counter;
  readonly #requests: Histogram;
  readonly #rows: Histogram;
  readonly #fill: Histogram;
  readonly #prefill: Histogram;
  readonly #modelStep: Histogram;
  readonly #constraintStep: Histogram;
  readonly #fanOut: Histogram;
  readonly #deadBeams: Counter;
  readonly #prefillHits: Counter;

  constructor(registry: Registry, now: () => DecodingNow) {
    const registers = [registry];
    const histogram = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name, help, buckets, registers });
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    gauge(
      'espalier_decode_queue_length',
      'Requests that wait for a decode engine or are in one.',
      () => now().queueLength,
    );
    gauge('espalier_decode_engines', 'Decode engines that serve.', () => now().engineCount);
    this.engineFailures = counter(
      'espalier_decode_engine_failures_total',
      'Decode engines that failed and were replaced.',
    );
    this.#requests = histogram(
      'espalier_decode_batch_requests',
      'Requests that decoded together.',
      powersOfTwo(128),
    );
    this.#rows = histogram(
      'espalier_decode_batch_rows',
      'Beams, of all requests, that decoded together.',
      powersOfTwo(2_048),
    );
    this.#fill = histogram(
      'espalier_decode_batch_fill_ratio',
      'Rows of a batch (requests times the widest beam) over the most that it may have; above 1 where one request is wider.',
      [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    );
    this.#prefill = histogram(
      'espalier_decode_prefill_seconds',
      'Time of reading the histories of a batch; nothing where all were cached.',
      SECONDS,
    );
    this.#modelStep = histogram(
      'espalier_decode_model_step_seconds',
      'Time of a model run after the histories were read, one for each further code.',
      SECONDS,
    );
    this.#constraintStep = histogram(
      'espalier_decode_constraint_step_seconds',
      'Time of one constrained step of a batch, one for each code.',
      SECONDS,
    );
    this.#fanOut = histogram(
      'espalier_decode_live_children',
      'Live children of a beam, of which a step chooses; from the first 8 beams of one request in 1 of 61 steps.',
      powersOfTwo(65_536),
    );
    this.#deadBeams = counter(
      'espalier_decode_dead_beams_total',
      'Beams below which nothing lies that the request may get; more than 0 is a fault. All final beams are looked at, others by sample.',
    );
    this.#prefillHits = counter(
      'espalier_prefill_hits_total',
      'Histories that a model had read before, or read once for several requests.',
    );
  }

  recordBatch({ requests, rows, fill, reply: { report } }: DecodedBatch): void {
    this.#requests.observe(requests);
    this.#rows.observe(rows);
    this.#fill.observe(fill);
    for (const ms of report.prefillMs) this.#prefill.observe(ms / 1000);
    for (const ms of report.modelStepMs) this.#modelStep.observe(ms / 1000);
    for (const ms of report.constraintStepMs) this.#constraintStep.observe(ms / 1000);
    for (const count of report.liveChildren) this.#fanOut.observe(count);
    this.#deadBeams.inc(report.deadBeams);
    this.#prefillHits.inc(report.prefillHits);
  }
}
