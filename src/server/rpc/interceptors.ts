import type { Interceptor, StreamResponse, UnaryResponse } from '@connectrpc/connect';
import type { FastifyBaseLogger } from 'fastify';
import type { Guard } from './guard.js';
import { typedError } from './protocol-errors.js';
import { remoteAddress } from './rpc-deps.js';
import { refuseUnknownFields } from './unknown-fields.js';

/** Anything that a call throws becomes a typed error; what is our fault goes to the log. */
export function typedErrors(log: FastifyBaseLogger): Interceptor {
  return (next) => async (request) => {
    const { name } = request.method;
    try {
      const response = await next(request);
      return response.stream ? guarded(response, (thrown) => typedError(thrown, name, log)) : response;
    } catch (thrown) {
      throw typedError(thrown, name, log);
    }
  };
}

/** A stream fails while it is read, long after the call has returned it. */
function guarded(response: StreamResponse, typed: (thrown: unknown) => unknown): StreamResponse {
  async function* messages() {
    try {
      yield* response.message;
    } catch (thrown) {
      throw typed(thrown);
    }
  }
  return { ...response, message: messages() };
}

/**
 * Requests are closed, as bodies of HTTP are: a field that this server does not know may be a constraint, and an answer
 * without it would be wrong.
 */
export const closedRequests: Interceptor = (next) => (request) => {
  if (!request.stream) refuseUnknownFields(request.message);
  return next(request);
};

export function guardedBy(guard: Guard): Interceptor {
  return (next) =>
    async (request): Promise<UnaryResponse | StreamResponse> => {
      const path = `/${request.service.typeName}/${request.method.name}`;
      await guard.check(Object.fromEntries(request.header), path, request.contextValues.get(remoteAddress));
      return next(request);
    };
}
