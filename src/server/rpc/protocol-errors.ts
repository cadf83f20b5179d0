import { Code, ConnectError } from '@connectrpc/connect';
import type { FastifyBaseLogger } from 'fastify';
import { type ErrorCode, EspalierError } from '../../errors.js';
import { errorInfoOf, grpcCodeOf, toConnectError } from './errors.js';
import { ErrorInfoSchema } from './generated/espalier/v1/errors_pb.js';

/** What Connect says of bytes that are no message, where its code alone does not tell. */
const faults: readonly [RegExp, ErrorCode][] = [
  [/^parse binary: /, 'ESP_BODY_MALFORMED'],
  [/^received compressed envelope/, 'ESP_BODY_MALFORMED'],
  [/^unknown compression /, 'ESP_MEDIA_TYPE'],
  [/^protocol error: invalid (grpc|connect) timeout/, 'ESP_REQUEST_INVALID'],
  // JSON, but of another message, or with a name twice.
  [
    /^cannot decode field |^cannot decode message .* from JSON: key |^the name .* comes twice/,
    'ESP_REQUEST_INVALID',
  ],
];

const codes: Partial<Record<Code, ErrorCode>> = {
  [Code.InvalidArgument]: 'ESP_BODY_MALFORMED',
  // A call of one message that has none, or several.
  [Code.Unimplemented]: 'ESP_BODY_MALFORMED',
  [Code.ResourceExhausted]: 'ESP_BODY_TOO_LARGE',
  [Code.NotFound]: 'ESP_ROUTE_NOT_FOUND',
  [Code.DeadlineExceeded]: 'ESP_TIMEOUT',
  [Code.Canceled]: 'ESP_CANCELLED',
};

/**
 * A fault of the protocol, such as bytes that are no message, with our code as its detail. Its own code stays, since
 * gRPC says which it is, but for Internal where the caller is at fault. What we have thrown ourselves stays as it is.
 */
export function withOurCode(error: ConnectError): ConnectError {
  if (error.details.length > 0) return error;
  const { metadata } = error;
  const code = ourCodeOf(error);
  // What is not the caller's fault is not for the caller.
  const message = code === 'ESP_INTERNAL' ? 'something went wrong' : error.rawMessage;
  const status = error.code === Code.Internal ? grpcCodeOf(code) : error.code;
  const detail = { desc: ErrorInfoSchema, value: errorInfoOf({ code, message }) };
  return new ConnectError(message, status, metadata, [detail], error);
}

function ourCodeOf({ rawMessage, code }: ConnectError): ErrorCode {
  return faults.find(([pattern]) => pattern.test(rawMessage))?.[1] ?? codes[code] ?? 'ESP_INTERNAL';
}

/** Anything that a call throws, as metrics and traces tell it. */
export function ourErrorOf(thrown: unknown): EspalierError {
  if (!(thrown instanceof ConnectError)) return EspalierError.from(thrown);
  return new EspalierError(ourCodeOf(thrown), thrown.rawMessage, { cause: thrown });
}

/** Anything that a call throws, as what its caller gets; what is our fault goes to the log. */
export function typedError(thrown: unknown, method: string, log: FastifyBaseLogger): ConnectError {
  if (thrown instanceof ConnectError) return withOurCode(thrown);
  const isOurFault = !(thrown instanceof EspalierError) || thrown.statusCode >= 500;
  const error = toConnectError(thrown);
  if (isOurFault) log.error({ err: thrown, method }, error.rawMessage);
  return error;
}
