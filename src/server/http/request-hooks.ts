import { type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import type { ErrorCode } from '../../errors.js';
import { REQUEST_ID_HEADER } from '../logs/request-id.js';
import type { Metrics } from '../metrics/index.js';
import type { RequestTrace, Tracing } from '../tracing/tracing.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the error that it is answered with. */
    errorCode: ErrorCode | undefined;
    /** Where it is traced. */
    trace: RequestTrace | undefined;
  }
}

/** What happens around every request: its id in the answer, its trace, its metrics, its line in the log. */
export function watchRequests(
  app: FastifyInstance,
  { metrics, tracing }: { metrics: Metrics; tracing: Tracing | undefined },
): void {
  app.decorateRequest('errorCode', undefined);
  app.decorateRequest('trace', undefined);
  app.addHook('onRequest', async (request, reply) => {
    reply.header(REQUEST_ID_HEADER, request.id);
    request.trace = tracing?.begin(request.method, request.headers);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, errorCode } = request;
    const route = request.routeOptions.url;
    const status = reply.statusCode;
    metrics.recordRequest({ method, route, status }, reply.elapsedTime);
    if (errorCode !== undefined) metrics.recordError(errorCode);
    request.trace?.end({ route: route ?? 'other', status, errorCode });
    logAccess(request, reply, route);
  });
}

/** Fastify's own lines, without the two that it writes for every request. */
export class QuietLogController extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(error: Error | null, request: FastifyRequest, reply: FastifyReply): void {
    if (error !== null && error !== undefined) super.requestCompleted(error, request, reply);
  }
}

const READING_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** These are sent like changes, a thousand times a second, and change nothing. */
const READING_ROUTES = /recommend|preview/i;

/** Changes at `info`, the rest at `debug`. Never the query, which is the caller's, nor any header but these. */
function logAccess(request: FastifyRequest, reply: FastifyReply, route: string | undefined): void {
  const { method, url, ip, errorCode, headers } = request;
  const isReading = READING_METHODS.has(method) || route === undefined || READING_ROUTES.test(route);
  const level = isReading ? 'debug' : 'info';
  request.log[level](
    {
      method,
      path: url.split('?')[0],
      route,
      status: reply.statusCode,
      durationMs: reply.elapsedTime,
      ip,
      ...(headers['x-actor'] !== undefined && { actor: headers['x-actor'] }),
      ...(errorCode !== undefined && { code: errorCode }),
    },
    'request',
  );
}
