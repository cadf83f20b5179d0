import { Counter, type Registry } from 'prom-client';

/** What was refused, and what could not be written down. */
export class SecurityMetrics {
  readonly refusals: Counter<'reason'>;
  readonly rateLimited: Counter<'kind'>;
  readonly auditFailures: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.refusals = new Counter({
      name: 'espalier_auth_failures_total',
      help: 'Requests refused for their API key, by reason.',
      labelNames: ['reason'],
      registers,
    });
    this.rateLimited = new Counter({
      name: 'espalier_rate_limited_total',
      help: 'Requests refused by a rate limit, by kind.',
      labelNames: ['kind'],
      registers,
    });
    this.auditFailures = new Counter({
      name: 'espalier_audit_failures_total',
      help: 'Changes that could not be written to the audit log.',
      registers,
    });
  }
}
