import { Counter, type Registry } from 'prom-client';
import { counterOf } from '../metrics/counter-of.js';

/** Why a request is refused for its API key. */
export const keyRefusals = ['missing', 'malformed', 'unknown', 'ended', 'scope', 'unreadable'] as const;
export type KeyRefusal = (typeof keyRefusals)[number];

/** What was refused, and what could not be written down. */
export class SecurityMetrics {
  readonly refusals: Counter<'reason'>;
  readonly rateLimited: Counter<'kind'>;
  readonly auditFailures: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.refusals = counterOf(registry, 'reason', keyRefusals, {
      name: 'espalier_auth_failures_total',
      help: 'Requests refused for their API key, by reason.',
    });
    this.rateLimited = counterOf(registry, 'kind', ['recommend', 'write'], {
      name: 'espalier_rate_limited_total',
      help: 'Requests refused by a rate limit, by kind.',
    });
    this.auditFailures = new Counter({
      name: 'espalier_audit_failures_total',
      help: 'Changes that could not be written to the audit log.',
      registers,
    });
  }
}
