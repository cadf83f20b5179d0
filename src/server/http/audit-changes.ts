import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AuditEntry } from '../security/audit-log.js';
import type { AppDeps } from './app-deps.js';
import { callerOf } from './change-headers.js';
import { isReading } from './guard.js';

/** Asked of the server, and changing nothing. */
const READING_ROUTES = new Set(['/v1/catalogs/:catalog/constraint-sets/preview']);
const MAX_ACTIONS_LENGTH = 4_096;

type Answered = Pick<AuditEntry, 'version' | 'code'> & { job?: string };

/**
 * Writes every change that somebody asked for to the audit log, before it is answered: what was acknowledged is there.
 * Refused ones are, too, once it is known who asked; requests that were too many are only counted.
 */
export function auditChanges(app: FastifyInstance, { audit, gatekeeper }: AppDeps): void {
  const answered = new WeakMap<FastifyRequest, Answered>();
  const isAudited = ({ method, routeOptions: { url }, principal }: FastifyRequest) => {
    if (principal === null || url === undefined || isReading(method) || READING_ROUTES.has(url)) return false;
    const need = gatekeeper.needOf(method, url);
    return need === 'write' || need === 'admin';
  };
  app.addHook('preSerialization', async (request, _reply, payload) => {
    if (isAudited(request)) answered.set(request, summaryOf(payload));
    return payload;
  });
  app.addHook('onSend', async (request, { statusCode }, payload) => {
    if (!isAudited(request) || statusCode === 429) return payload;
    const { version, code, job } = answered.get(request) ?? {};
    await audit.append({
      by: byOf(request),
      ...(request.principal!.keyId !== null && { keyId: request.principal!.keyId }),
      action: `${request.method} ${request.routeOptions.url}`,
      target: { ...targetOf(request), ...(job !== undefined && { job }) },
      ...(version !== undefined && { version }),
      outcome: statusCode >= 400 ? 'failed' : statusCode === 202 ? 'accepted' : 'done',
      ...(code !== undefined && { code }),
      requestId: request.id,
      address: request.ip,
    });
    return payload;
  });
}

/** Where the caller's own name for itself is malformed, the request was refused for that. */
function byOf(request: FastifyRequest): string | null {
  try {
    return callerOf(request);
  } catch {
    return request.principal?.name ?? null;
  }
}

/** The route's own names for what it changes; aliases are named in the body alone. */
function targetOf({ params, body, routeOptions }: FastifyRequest): Record<string, string> {
  if (routeOptions.url !== '/v1/aliases') return { ...(params as Record<string, string>) };
  return { actions: JSON.stringify(body ?? null).slice(0, MAX_ACTIONS_LENGTH) };
}

/** What an answer says about what was made: resources, jobs and errors have the same names for it everywhere. */
function summaryOf(payload: unknown): Answered {
  const { version, activeVersion, job, error } = (payload ?? {}) as Record<string, unknown>;
  const made = typeof version === 'number' ? version : activeVersion;
  return {
    ...(typeof made === 'number' && { version: made }),
    ...(isObject(job) && { job: String(job.id) }),
    ...(isObject(error) && { code: String(error.code) }),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
