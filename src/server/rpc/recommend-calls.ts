import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  contentTypeProto,
  grpcStatusOk,
  parseTimeout,
  setTrailerStatus,
} from '@connectrpc/connect/protocol-grpc';
import { EspalierError } from '../../errors.js';
import { abortedWhenGone } from '../http/aborted-when-gone.js';
import { REQUEST_ID_HEADER, requestIdOf } from '../logs/request-id.js';
import { checkRequest } from '../recommend/check-request.js';
import type { RecommendContext } from '../recommend/recommend-service.js';
import {
  RecommendationService,
  type RecommendRequest,
  RecommendRequestSchema,
  RecommendResponseSchema,
} from './generated/espalier/v1/recommendation_pb.js';
import { ourErrorOf, typedError } from './protocol-errors.js';
import { requestOf, responseOf } from './recommend-messages.js';
import type { RpcDeps } from './rpc-deps.js';
import { readUnaryMessage, withHead } from './unary-message.js';
import { refuseUnknownFields } from './unknown-fields.js';
import type { CallWatch } from './watched-calls.js';

const { recommend } = RecommendationService.method;
const PATH = `/${RecommendationService.typeName}/${recommend.name}`;

type Deps = Pick<RpcDeps, 'recommend' | 'config' | 'metrics' | 'guard' | 'app'> & { watch: CallWatch };

/**
 * `Recommend` over gRPC, without Connect, whose way costs more than the rest of a call together: recommending is what
 * servers do a thousand times a second, and here it costs what it costs over HTTP. Guards, checks, errors and metrics
 * are those of all calls.
 */
export class RecommendCalls {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Whether a call is one of these, in its usual form. Any other is Connect's, such as one in JSON, or packed. */
  takes({ url, method, headers }: Http2ServerRequest): boolean {
    if (url !== PATH || method !== 'POST') return false;
    const { 'content-type': contentType, 'grpc-encoding': encoding = 'identity' } = headers;
    return (
      (contentType === contentTypeProto || contentType === 'application/grpc') && encoding === 'identity'
    );
  }

  /** Never rejects. @param request which it takes */
  async answer(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const { watch, metrics, app } = this.#deps;
    const requestId = requestIdOf(request.headers);
    const call = watch.begin(PATH, request.headers);
    const signal = abortedWhenGone(response);
    response.setHeader('content-type', contentTypeProto);
    response.setHeader(REQUEST_ID_HEADER, requestId);
    try {
      const answer = await this.#answer(request, { requestId, trace: call.trace, signal });
      if (!signal.aborted) end(response, { 'grpc-status': grpcStatusOk }, answer);
      call.end();
    } catch (thrown) {
      const trailers = setTrailerStatus(new Headers(), typedError(thrown, recommend.name, app.log));
      if (!signal.aborted) end(response, Object.fromEntries(trailers));
      metrics.recordError(ourErrorOf(thrown).code);
      call.end(thrown);
    }
  }

  async #answer(request: Http2ServerRequest, context: RecommendContext): Promise<Buffer> {
    const { guard, config } = this.#deps;
    const startMs = performance.now();
    const timeoutMs = timeoutMsOf(request);
    await guard.check(request.headers, PATH, request.socket.remoteAddress);
    const message = parse(await readUnaryMessage(request, config.bodyLimitBytes));
    refuseUnknownFields(message);
    const remainingMs = timeoutMs && timeoutMs - (performance.now() - startMs);
    const body = checkRequest(requestOf(message, remainingMs));
    const answer = responseOf(await this.#deps.recommend.recommend(body, context));
    return withHead(toBinary(RecommendResponseSchema, create(RecommendResponseSchema, answer)));
  }
}

/** Until the call's deadline, where it has one. @throws ConnectError where nobody can read it */
function timeoutMsOf({ headers }: Http2ServerRequest): number | undefined {
  const { 'grpc-timeout': timeout = null } = headers;
  const { timeoutMs, error } = parseTimeout(timeout as string | null, Number.POSITIVE_INFINITY);
  if (error !== undefined) throw error;
  return timeoutMs;
}

/** @throws EspalierError ESP_BODY_MALFORMED */
function parse(bytes: Buffer): RecommendRequest {
  try {
    return fromBinary(RecommendRequestSchema, bytes);
  } catch (cause) {
    const message = `the message is no ${RecommendRequestSchema.name}: ${(cause as Error).message}`;
    throw new EspalierError('ESP_BODY_MALFORMED', message, { cause });
  }
}

function end(response: Http2ServerResponse, trailers: Record<string, string>, message?: Buffer): void {
  // Without a body the end would come with the headers, and leave no room for trailers.
  response.writeHead(200);
  response.addTrailers(trailers);
  if (message === undefined) response.end();
  else response.end(message);
}
