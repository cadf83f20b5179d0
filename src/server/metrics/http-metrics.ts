import { METHODS } from 'node:http';
import { Counter, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../../errors.js';
import { SECONDS } from './buckets.js';

const KNOWN_METHODS = new Set(METHODS);

/** One request as it ended. */
export interface EndedRequest {
  method: string;
  /** The route's pattern; undefined where there is no such route. */
  route: string | undefined;
  status: number;
}

/** Requests of every route, and errors of every kind. */
export class HttpMetrics {
  readonly requestDuration: Histogram<'method' | 'route' | 'status'>;
  readonly #errors: Counter<'code'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.requestDuration = new Histogram({
      name: 'espalier_http_request_duration_seconds',
      help: 'Time from request to answer, by route and status.',
      labelNames: ['method', 'route', 'status'],
      buckets: SECONDS,
      registers,
    });
    this.#errors = new Counter({
      name: 'espalier_errors_total',
      help: 'Errors that were answered, over any protocol and to entries of batches and streams, by code.',
      labelNames: ['code'],
      registers,
    });
  }

  /** What clients make up never becomes a label. */
  recordRequest({ method, route, status }: EndedRequest, durationMs: number): void {
    const labels = {
      method: KNOWN_METHODS.has(method) ? method : 'other',
      route: route ?? 'other',
      status: String(status),
    };
    this.requestDuration.observe(labels, durationMs / 1000);
  }

  recordError(code: ErrorCode): void {
    this.#errors.inc({ code });
  }
}
