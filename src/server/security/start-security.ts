import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import { EspalierError } from '../../errors.js';
import type { Config } from '../config.js';
import type { Job } from '../jobs/job-store.js';
import { type AuditEntry, AuditLog } from './audit-log.js';
import { Gatekeeper } from './gatekeeper.js';
import { keyFilePath } from './key-file.js';
import { KeyStore } from './key-store.js';
import { isLoopback } from './local-only.js';
import { RateLimits } from './rate-limits.js';
import type { SecurityMetrics } from './security-metrics.js';

/** Starts what lets requests in and writes down what they change. @param started gets what undoes it */
export function startSecurity(
  config: Config,
  metrics: SecurityMetrics,
  logger: Logger,
  started: (() => Promise<void> | void)[],
) {
  const keys = new KeyStore(config.dataDir, (failure, areRequired) => {
    if (failure === undefined) logger.info(areRequired ? 'API keys are in force' : 'there are no API keys');
    else logger.error({ err: failure }, 'nobody is let in until the API keys can be read');
  });
  started.push(() => keys.close());
  const limits = new RateLimits(config, logger);
  started.push(() => limits.close());
  const audit = new AuditLog(config.dataDir, {
    onFailure: (error, entries) => {
      metrics.auditFailures.inc(entries.length);
      // Here they are at least in the server's log.
      logger.error({ err: error, entries }, 'changes could not be written to the audit log');
    },
  });
  started.push(() => audit.close());
  const { openMetrics } = config;
  return { gatekeeper: new Gatekeeper({ keys, limits, metrics, openMetrics }), limits, audit };
}

/**
 * Other machines are let in with keys only.
 * @throws EspalierError ESP_CONFIG_INVALID
 */
export function checkReach({ host, dataDir, allowUnauthenticated }: Config): void {
  if (isLoopback(host) || allowUnauthenticated || existsSync(keyFilePath(dataDir))) return;
  throw new EspalierError(
    'ESP_CONFIG_INVALID',
    `--host ${host}: other machines could reach the server, and there are no API keys; make one first, as with\n` +
      `  espalier keys create --data-dir ${dataDir} --name NAME --scopes admin\n` +
      'or let anyone change everything with --allow-unauthenticated',
  );
}

/** What a job came to, as the audit log has it; that it was asked for is there already. */
export function jobEnd(
  { id, kind, state, catalog, version, error }: Job,
  by: string | null,
): Omit<AuditEntry, 'at'> {
  return {
    by,
    action: 'job end',
    target: { job: id, kind, ...(catalog !== undefined && { catalog }) },
    ...(version !== undefined && { version }),
    outcome: state === 'succeeded' ? 'done' : 'failed',
    ...(state === 'cancelled' && { code: 'ESP_CANCELLED' }),
    ...(error !== undefined && { code: error.code }),
  };
}
