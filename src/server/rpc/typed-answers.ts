import type { JsonValue } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import {
  encodeEnvelope,
  type UniversalHandler,
  type UniversalServerResponse,
} from '@connectrpc/connect/protocol';
import { codeToHttpStatus, errorFromJsonBytes, errorToJsonBytes } from '@connectrpc/connect/protocol-connect';
import { findTrailerError, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { trailerFlag, trailerParse, trailerSerialize } from '@connectrpc/connect/protocol-grpc-web';
import { type ErrorCode, EspalierError } from '../../errors.js';
import { toConnectError } from './errors.js';
import { withOurCode } from './protocol-errors.js';

const ENVELOPE_HEAD_BYTES = 5;

/** Answers without a body, which say with their status alone what is wrong. */
const bare: Readonly<Record<number, [ErrorCode, string]>> = {
  405: ['ESP_ROUTE_NOT_FOUND', 'calls are sent with POST'],
  415: [
    'ESP_MEDIA_TYPE',
    'expected the content type of a call, such as application/json or application/proto',
  ],
  505: ['ESP_ROUTE_NOT_FOUND', 'streams in both directions need HTTP/2; they are served on the gRPC port'],
};

/**
 * A handler whose every error has our code, whatever the protocol. Connect refuses what is no message before any
 * interceptor sees the call, so that its answer is the one place where all of these faults come by. (What fails in a
 * stream comes by interceptors.)
 */
export function withTypedErrors(handler: UniversalHandler): UniversalHandler {
  const typed = async (request: Parameters<UniversalHandler>[0]) =>
    typedAnswer(await handler({ ...request, body: typedBytes(request.body) }));
  return Object.assign(typed, handler);
}

async function typedAnswer(answer: UniversalServerResponse): Promise<UniversalServerResponse> {
  const { status, header, body, trailer } = answer;
  if (body === undefined) return status in bare ? bareAnswer(status) : answer;
  const contentType = header?.get('content-type') ?? '';
  if (trailer !== undefined) typeTrailer(trailer);
  else if (contentType.startsWith('application/grpc-web')) return { ...answer, body: typedEnvelopes(body) };
  else if (status >= 400) return typedConnectAnswer(answer);
  return answer;
}

/** gRPC. */
function typeTrailer(trailer: Headers): void {
  const error = findTrailerError(trailer);
  if (error === undefined || error.details.length > 0) return;
  // Its metadata are there already.
  setTrailerStatus(trailer, withOurCode(new ConnectError(error.rawMessage, error.code)));
}

/** gRPC-Web: the trailers are the body's last envelope, and each envelope is a chunk of its own. */
async function* typedEnvelopes(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const envelope of body) {
    if (envelope[0] !== trailerFlag) {
      yield envelope;
      continue;
    }
    const trailer = trailerParse(envelope.subarray(ENVELOPE_HEAD_BYTES));
    typeTrailer(trailer);
    yield encodeEnvelope(trailerFlag, trailerSerialize(trailer));
  }
}

/** Connect, where the call is no stream: the error is a body of JSON. */
async function typedConnectAnswer(answer: UniversalServerResponse): Promise<UniversalServerResponse> {
  const bytes: Uint8Array[] = [];
  for await (const chunk of answer.body!) bytes.push(chunk);
  const unreadable = new ConnectError('something went wrong', Code.Internal);
  const error = withOurCode(errorFromJsonBytes(Buffer.concat(bytes), undefined, unreadable));
  return {
    ...answer,
    ...jsonAnswer(codeToHttpStatus(error.code), errorToJsonBytes(error, undefined), answer.header),
  };
}

function bareAnswer(status: number): UniversalServerResponse {
  const [code, message] = bare[status];
  return jsonAnswer(status, Buffer.from(JSON.stringify({ error: { code, message } })));
}

function jsonAnswer(status: number, bytes: Uint8Array, given?: Headers): UniversalServerResponse {
  const header = new Headers(given);
  header.set('content-type', 'application/json');
  header.set('content-length', String(bytes.byteLength));
  return { status, header, body: chunksOf(bytes) };
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** A body that fails with an error of ours, such as one that comes too slowly, fails with it to the caller, too. */
function typedBytes(body: AsyncIterable<Uint8Array> | JsonValue): AsyncIterable<Uint8Array> | JsonValue {
  return isBytes(body) ? typedChunks(body) : body;
}

async function* typedChunks(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (thrown) {
    throw thrown instanceof EspalierError ? toConnectError(thrown) : thrown;
  }
}

function isBytes(body: AsyncIterable<Uint8Array> | JsonValue): body is AsyncIterable<Uint8Array> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
}
