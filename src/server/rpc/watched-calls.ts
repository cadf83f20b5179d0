import { createContextKey, type Interceptor } from '@connectrpc/connect';
import { EspalierError } from '../../errors.js';
import { REQUEST_ID_HEADER, requestIdOf } from '../logs/request-id.js';
import type { Metrics } from '../metrics/index.js';
import type { RequestTrace, Tracing } from '../tracing/tracing.js';

/** What a call is to be named in logs and errors. */
export const callId = createContextKey('', { description: 'request id' });
/** Where it is traced. */
export const callTrace = createContextKey<RequestTrace | undefined>(undefined, { description: 'trace' });

/**
 * Around a call that does not come through the HTTP application: its id in the answer, its trace, its duration.
 */
export function watched(metrics: Metrics, tracing: Tracing | undefined): Interceptor {
  return (next) => async (request) => {
    const { contextValues, header, service, method } = request;
    const route = `/${service.typeName}/${method.name}`;
    const trace = tracing?.begin('POST', Object.fromEntries(header));
    contextValues.set(callTrace, trace);
    const startMs = performance.now();
    let error: EspalierError | undefined;
    try {
      const response = await next(request);
      response.header.set(REQUEST_ID_HEADER, contextValues.get(callId));
      return response;
    } catch (thrown) {
      error = EspalierError.from(thrown);
      throw thrown;
    } finally {
      const status = error?.statusCode ?? 200;
      metrics.recordRequest({ method: 'POST', route, status }, performance.now() - startMs);
      trace?.end({ route, status, errorCode: error?.code });
    }
  };
}

/** Names a call as its caller does, and counts its error. */
export function named(metrics: Metrics): Interceptor {
  return (next) => async (request) => {
    request.contextValues.set(callId, requestIdOf(Object.fromEntries(request.header)));
    try {
      return await next(request);
    } catch (thrown) {
      metrics.recordError(EspalierError.from(thrown).code);
      throw thrown;
    }
  };
}
