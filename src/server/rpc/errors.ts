import type { MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { type ErrorCode, EspalierError, errorCatalogue, type PlainError } from '../../errors.js';
import { publicError, retryAfterOf } from '../http/errors.js';
import { ErrorInfoSchema } from './generated/espalier/v1/errors_pb.js';

/** gRPC's code for each HTTP status of the catalogue. */
const codeOfStatus: Readonly<Record<number, Code>> = {
  400: Code.InvalidArgument,
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  404: Code.NotFound,
  408: Code.Aborted,
  409: Code.FailedPrecondition,
  412: Code.FailedPrecondition,
  413: Code.ResourceExhausted,
  415: Code.InvalidArgument,
  416: Code.OutOfRange,
  422: Code.InvalidArgument,
  429: Code.ResourceExhausted,
  431: Code.ResourceExhausted,
  500: Code.Internal,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
  507: Code.ResourceExhausted,
};

/** Where gRPC tells apart what one HTTP status does not. */
const exceptions: Partial<Record<ErrorCode, Code>> = {
  ESP_ROUTE_NOT_FOUND: Code.Unimplemented,
  ESP_UPLOAD_ABORTED: Code.Canceled,
  ESP_CANCELLED: Code.Canceled,
  ESP_ARTIFACT_CORRUPT: Code.DataLoss,
  // Nothing is wrong with the request: the model has to change.
  ESP_MODEL_MANIFEST: Code.FailedPrecondition,
  ESP_MODEL_MISFIT: Code.FailedPrecondition,
  ESP_MODEL_TIMEOUT: Code.FailedPrecondition,
};

/** The gRPC code of one of our errors; Unknown where its status is new to the table, which a test keeps from happening. */
export function grpcCodeOf(code: ErrorCode): Code {
  return exceptions[code] ?? codeOfStatus[errorCatalogue[code].statusCode] ?? Code.Unknown;
}

/** An error as callers see it, for the detail of a failed call or an entry of a batch. */
export function errorInfoOf(
  { code, message, details }: PlainError,
  retryAfterSeconds?: number,
): MessageInitShape<typeof ErrorInfoSchema> {
  return {
    code,
    message,
    details: details ?? [],
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
}

/** An error that callers may see, with its code as a detail and `retry-after` where it is worth trying again. */
export function connectErrorOf(plain: PlainError, retryAfterSeconds?: number): ConnectError {
  const metadata = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
  const detail = { desc: ErrorInfoSchema, value: errorInfoOf(plain, retryAfterSeconds) };
  return new ConnectError(plain.message, grpcCodeOf(plain.code), metadata, [detail]);
}

/** As `publicError`, and when to try again. */
export function publicInfoOf(thrown: unknown): MessageInitShape<typeof ErrorInfoSchema> {
  const error = EspalierError.from(thrown);
  return errorInfoOf(publicError(error), retryAfterOf(error));
}

/** An error of ours, or anything else thrown that Connect does not know, as what the caller gets. */
export function toConnectError(thrown: unknown): ConnectError {
  const error = EspalierError.from(thrown);
  return connectErrorOf(publicError(error), retryAfterOf(error));
}
