import { Readable } from 'node:stream';
import {
  type DescMessage,
  type DescMethod,
  fromJson,
  type JsonObject,
  type JsonValue,
  type MessageShape,
  toJson,
} from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { EspalierError, fieldError, type PlainError } from '../../errors.js';
import { connectErrorOf } from './errors.js';
import { remoteAddress } from './rpc-deps.js';

/** Metadata that HTTP knows as headers. */
const PASSED_HEADERS = ['authorization', 'x-api-key', 'x-actor', 'if-match', 'if-none-match', 'traceparent'];
const ANSWERED_HEADERS = ['etag'];

export interface HttpCall {
  method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  body?: JsonObject;
}

type Answer = Awaited<ReturnType<FastifyInstance['inject']>>;
type Unary<M extends DescMethod> = (
  message: MessageShape<M['input']>,
  context: HandlerContext,
) => Promise<MessageShape<M['output']>>;

/**
 * Management calls as requests to the HTTP application of the same process, without a socket: limits, keys, the audit
 * log and errors are the same by construction.
 */
export class Bridge {
  readonly #app: FastifyInstance;

  constructor(app: FastifyInstance) {
    this.#app = app;
  }

  /**
   * A call that is one request.
   * @param toCall gets the message and its JSON, in which empty lists are there, and takes from it what is in the path.
   */
  unary<M extends DescMethod>(
    method: M,
    toCall: (message: MessageShape<M['input']>, json: JsonObject) => HttpCall,
  ): Unary<M> {
    return async (message, context) => {
      const json = toJson(method.input as DescMessage, message, { alwaysEmitImplicit: true }) as JsonObject;
      const { method: verb, path, body } = toCall(message, json);
      const answer = await this.#inject(context, {
        method: verb,
        url: path,
        ...(body !== undefined && {
          payload: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
      });
      return messageOf(method.output, answer, context) as MessageShape<M['output']>;
    };
  }

  /** A call whose body comes in pieces, which are not read faster than the route reads them. */
  async upload<Output extends DescMessage>(
    output: Output,
    { path, headers }: { path: string; headers: Record<string, string> },
    chunks: AsyncIterable<Uint8Array>,
    context: HandlerContext,
  ): Promise<MessageShape<Output>> {
    const payload = Readable.from(chunks, { objectMode: false });
    try {
      const answer = await this.#inject(context, { method: 'POST', url: path, headers, payload });
      return messageOf(output, answer, context);
    } finally {
      payload.destroy();
    }
  }

  /**
   * The answer's body as it comes.
   * @throws ConnectError where the answer is an error.
   */
  async stream(path: string, context: HandlerContext): Promise<Readable> {
    const { signal } = context;
    // Before the answer has come nobody listens to its body, and an abort that reached it would end the process.
    const left = new AbortController();
    const onAnswer = (answer: Answer) => {
      answer.stream().on('error', () => {});
      const leave = () => left.abort(signal.reason);
      if (signal.aborted) leave();
      else signal.addEventListener('abort', leave, { once: true });
    };
    const options: InjectOptions = { method: 'GET', url: path, payloadAsStream: true, signal: left.signal };
    const answer = await this.#inject(context, options, onAnswer);
    const body = answer.stream();
    if (answer.statusCode < 300) return body;
    throw errorOf(answer, JSON.parse(Buffer.concat(await body.toArray()).toString()));
  }

  /** @param onAnswer gets the answer even when nobody waits for it any more */
  async #inject(
    context: HandlerContext,
    options: InjectOptions,
    onAnswer: (answer: Answer) => void = () => {},
  ): Promise<Answer> {
    const { signal } = context;
    const headers: Record<string, string> = { ...(options.headers as Record<string, string>) };
    for (const name of PASSED_HEADERS) {
      const value = context.requestHeader.get(name);
      if (value !== null) headers[name] = value;
    }
    const address = context.values.get(remoteAddress);
    const inject = this.#app.inject({
      signal,
      ...options,
      headers,
      ...(address !== undefined && { remoteAddress: address }),
    });
    const answered = inject.then((answer) => {
      onAnswer(answer);
      return answer;
    });
    return untilAborted(answered, signal);
  }
}

/** What is put into a path. @throws EspalierError ESP_REQUEST_INVALID on what would lead to another route. */
export function segment(field: string, value: string): string {
  if (value === '') throw fieldError('ESP_REQUEST_INVALID', field, 'a value', 'nothing');
  // URLs resolve these, whether they are encoded or not.
  if (value === '.' || value === '..') {
    throw fieldError('ESP_REQUEST_INVALID', field, 'a name', JSON.stringify(value));
  }
  if (!value.isWellFormed()) throw fieldError('ESP_REQUEST_INVALID', field, 'Unicode', 'half a character');
  return encodeURIComponent(value);
}

/** Nobody waits for the answer of an aborted call, which may never come. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(cancelled(signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function cancelled(cause: unknown): EspalierError {
  return new EspalierError('ESP_CANCELLED', 'the call was cancelled', { cause });
}

function messageOf<Output extends DescMessage>(
  output: Output,
  answer: Answer,
  context: HandlerContext,
): MessageShape<Output> {
  const body = answer.payload === '' ? {} : (JSON.parse(answer.payload) as JsonValue);
  if (answer.statusCode >= 300) throw errorOf(answer, body);
  for (const name of ANSWERED_HEADERS) {
    const value = answer.headers[name];
    if (value !== undefined) context.responseHeader.set(name, String(value));
  }
  return fromJson(output, body, { ignoreUnknownFields: true });
}

function errorOf({ statusCode, headers }: Answer, body: unknown): unknown {
  const plain = (body as { error?: PlainError } | null)?.error;
  if (plain === undefined) return new Error(`the application answered ${statusCode} without an error`);
  const retryAfter = headers['retry-after'];
  return connectErrorOf(plain, retryAfter === undefined ? undefined : Number(retryAfter));
}
