import { ConnectError, type Interceptor, type StreamResponse, type UnaryResponse } from '@connectrpc/connect';
import type { FastifyBaseLogger } from 'fastify';
import { EspalierError } from '../../errors.js';
import { toConnectError } from './errors.js';
import type { Guard } from './guard.js';
import { withOurCode } from './protocol-errors.js';
import { remoteAddress } from './rpc-deps.js';
import { refuseUnknownFields } from './unknown-fields.js';

/** Anything that a call throws becomes a typed error; what is our fault goes to the log. */
export function typedErrors(log: FastifyBaseLogger): Interceptor {
  const typed = (thrown: unknown, method: string) => {
    // A fault of the protocol, such as bytes in a stream that are no message.
    if (thrown instanceof ConnectError) return withOurCode(thrown);
    const isOurFault = !(thrown instanceof EspalierError) || thrown.statusCode >= 500;
    const error = toConnectError(thrown);
    if (isOurFault) log.error({ err: thrown, method }, error.rawMessage);
    return error;
  };
  return (next) => async (request) => {
    const { name } = request.method;
    try {
      const response = await next(request);
      return response.stream ? guarded(response, (thrown) => typed(thrown, name)) : response;
    } catch (thrown) {
      throw typed(thrown, name);
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
      await guard.check(request.header, path, request.contextValues.get(remoteAddress));
      return next(request);
    };
}
