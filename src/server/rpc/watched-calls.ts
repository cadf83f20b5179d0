import type { IncomingHttpHeaders } from 'node:http';
import { ConnectError, createContextKey, type Interceptor } from '@connectrpc/connect';
import { REQUEST_ID_HEADER, requestIdOf } from '../logs/request-id.js';
import type { Metrics } from '../metrics/index.js';
import type { RequestTrace, Tracing } from '../tracing/tracing.js';
import { ourErrorOf } from './protocol-errors.js';

/** What a call is to be named in logs and errors. */
export const callId = createContextKey('', { description: 'request id' });
/** Where it is traced. */
export const callTrace = createContextKey<RequestTrace | undefined>(undefined, { description: 'trace' });

/** A call that does not come through the HTTP application. */
export interface WatchedCall {
  trace: RequestTrace | undefined;
  /** @param thrown what it failed with, if it did */
  end(thrown?: unknown): void;
}

/** Traces such calls, and measures how long they take. */
export class CallWatch {
  readonly #metrics: Metrics;
  readonly #tracing: Tracing | undefined;

  constructor(metrics: Metrics, tracing: Tracing | undefined) {
    this.#metrics = metrics;
    this.#tracing = tracing;
  }

  /** @param route e.g. `/espalier.v1.RecommendationService/Recommend` */
  begin(route: string, headers: IncomingHttpHeaders): WatchedCall {
    const trace = this.#tracing?.begin('POST', headers);
    const startMs = performance.now();
    return {
      trace,
      end: (thrown) => {
        const error = thrown === undefined ? undefined : ourErrorOf(thrown);
        const status = error?.statusCode ?? 200;
        this.#metrics.recordRequest({ method: 'POST', route, status }, performance.now() - startMs);
        trace?.end({ route, status, errorCode: error?.code });
      },
    };
  }
}

/** Around a call over Connect, whose answer gets its id. */
export function watchedBy(watch: CallWatch): Interceptor {
  return (next) => async (request) => {
    const { contextValues, header, service, method } = request;
    const call = watch.begin(`/${service.typeName}/${method.name}`, Object.fromEntries(header));
    contextValues.set(callTrace, call.trace);
    try {
      const response = await next(request);
      response.header.set(REQUEST_ID_HEADER, contextValues.get(callId));
      call.end();
      return response;
    } catch (thrown) {
      call.end(thrown);
      throw thrown;
    }
  };
}

/** Names a call as its caller does, and counts its error, unless the HTTP application has answered with it. */
export function named(metrics: Metrics): Interceptor {
  return (next) => async (request) => {
    request.contextValues.set(callId, requestIdOf(Object.fromEntries(request.header)));
    try {
      return await next(request);
    } catch (thrown) {
      const isCounted = thrown instanceof ConnectError && thrown.details.length > 0;
      if (!isCounted) metrics.recordError(ourErrorOf(thrown).code);
      throw thrown;
    }
  };
}
