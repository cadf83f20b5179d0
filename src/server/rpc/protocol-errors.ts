import { Code, ConnectError } from '@connectrpc/connect';
import type { ErrorCode } from '../../errors.js';
import { errorInfoOf, grpcCodeOf } from './errors.js';
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
  const { rawMessage, metadata } = error;
  const code =
    faults.find(([pattern]) => pattern.test(rawMessage))?.[1] ?? codes[error.code] ?? 'ESP_INTERNAL';
  // What is not the caller's fault is not for the caller.
  const message = code === 'ESP_INTERNAL' ? 'something went wrong' : rawMessage;
  const status = error.code === Code.Internal ? grpcCodeOf(code) : error.code;
  const detail = { desc: ErrorInfoSchema, value: errorInfoOf({ code, message }) };
  return new ConnectError(message, status, metadata, [detail], error);
}
