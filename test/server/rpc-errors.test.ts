import { Code, ConnectError } from '@connectrpc/connect';
import { describe, expect, it } from 'vitest';
import { type ErrorCode, EspalierError, errorCatalogue } from '../../src/errors.js';
import { grpcCodeOf, toConnectError } from '../../src/server/rpc/errors.js';
import { ErrorInfoSchema } from '../../src/server/rpc/generated/espalier/v1/errors_pb.js';
import { withOurCode } from '../../src/server/rpc/protocol-errors.js';

const codes = Object.keys(errorCatalogue) as ErrorCode[];

describe('errors of gRPC', () => {
  it.each(codes)('%s has a code of gRPC that fits its status', (code) => {
    const { statusCode } = errorCatalogue[code];
    const grpc = grpcCodeOf(code);
    expect(Code[grpc]).toBeDefined();
    expect(grpc).not.toBe(Code.Unknown);
    const isCallersFault = ![Code.Internal, Code.DataLoss, Code.Unavailable, Code.DeadlineExceeded].includes(
      grpc,
    );
    // 507 is exhausted; who cancelled a call, or sent too much, knows.
    expect(isCallersFault).toBe(statusCode < 500 || statusCode === 507);
  });

  it('carries code, message, details and when to try again', () => {
    const details = [{ field: 'k', expected: '1', found: '0' }];
    const thrown = new EspalierError('ESP_OVERLOADED', 'full', { details, retryAfterSeconds: 3 });
    const error = toConnectError(thrown);
    expect(error.code).toBe(Code.Unavailable);
    expect(error.metadata.get('retry-after')).toBe('3');
    const [detail] = error.details as unknown as { desc: unknown; value: unknown }[];
    expect(detail.desc).toBe(ErrorInfoSchema);
    expect(detail.value).toEqual({ code: 'ESP_OVERLOADED', message: 'full', details, retryAfterSeconds: 3 });
  });

  it('says nothing of what is not meant for callers', () => {
    const error = toConnectError(new Error('/secret/path'));
    expect(error.code).toBe(Code.Internal);
    const [{ value }] = error.details as unknown as { value: unknown }[];
    expect(error.message + JSON.stringify(value)).not.toContain('secret');
  });

  it('gives faults of the protocol a code of ours, and leaves errors that have one', () => {
    const late = withOurCode(new ConnectError('late', Code.DeadlineExceeded));
    expect([late.code, codeIn(late)]).toEqual([Code.DeadlineExceeded, 'ESP_TIMEOUT']);
    expect(withOurCode(late)).toBe(late);
    const noMessage = withOurCode(new ConnectError('parse binary: premature EOF', Code.Internal));
    expect([noMessage.code, codeIn(noMessage)]).toEqual([Code.InvalidArgument, 'ESP_BODY_MALFORMED']);
    const ours = withOurCode(new ConnectError('serialize binary: /secret', Code.Internal));
    expect([ours.code, codeIn(ours), ours.rawMessage]).toEqual([
      Code.Internal,
      'ESP_INTERNAL',
      'something went wrong',
    ]);
  });
});

function codeIn({ details }: ConnectError): string {
  return (details as unknown as { value: { code: string } }[])[0].value.code;
}
