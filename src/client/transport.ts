import { Deadline } from './deadline.js';
import { EspalierClientError, errorOfAnswer, excerpt } from './errors.js';
import type { CallOptions, ClientOptions } from './options.js';
import { isTransient, waitBeforeRetryMs } from './retry.js';

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_RETRIES = 3;

/** A body that can be sent once, or `open`ed anew for every attempt. */
export interface CallBody {
  contentType?: string | undefined;
  contentEncoding?: string | undefined;
  open: () => NonNullable<RequestInit['body']>;
  /** What the source of a stream has thrown: the caller's own error, and none of the connection. */
  failure?: { thrown: unknown };
}

export interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  query?: Readonly<Record<string, string | number | boolean | undefined>>;
  json?: unknown;
  body?: CallBody;
  headers?: Readonly<Record<string, string>>;
  /** Whether doing it twice is the same as doing it once: only then is it tried again. */
  isIdempotent: boolean;
  /** Statuses beside 2xx that are answers. */
  answers?: readonly number[];
  /** No deadline unless the caller names one: uploads, streams. */
  isLong?: boolean;
}

/** Sends calls: one deadline over all attempts, retries where they can do no harm, errors as one type. */
export class Transport {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;
  readonly #retries: number;
  readonly #fetch: typeof fetch;

  constructor({ url, apiKey, timeoutMs, retries, fetch: ownFetch, headers }: ClientOptions) {
    this.#url = url.replace(/\/+$/, '');
    this.#headers = { ...headers, ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) };
    this.#timeoutMs = timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#retries = retries ?? DEFAULT_RETRIES;
    // Browsers refuse a fetch that is called as a method of something else.
    this.#fetch = ownFetch ?? ((input, init) => fetch(input, init));
  }

  /** The JSON of an answer; undefined where it has none (204). */
  json<Answer>(call: Call, options: CallOptions = {}): Promise<Answer> {
    return this.attempt(call, options, async (response) => parse<Answer>(await response.text(), response));
  }

  text(call: Call, options: CallOptions = {}): Promise<string> {
    return this.attempt(call, options, (response) => response.text());
  }

  get retries(): number {
    return this.#retries;
  }

  /** An answer whose body is still to come, in one attempt without a deadline: `options.signal` ends it. */
  open(call: Call, options: CallOptions): Promise<Response> {
    const { signal = new AbortController().signal, headers } = options;
    return this.#once(call, headers, signal, async (response) => response);
  }

  /**
   * Sends a call until it succeeds, may not be repeated, or its time is up, and reads the answer; an answer that breaks
   * off is an attempt that failed.
   * @throws EspalierClientError; the reason of the caller's abort
   */
  async attempt<Result>(
    call: Call,
    { signal, timeoutMs, retries = this.#retries, headers }: CallOptions,
    read: (response: Response) => Promise<Result>,
  ): Promise<Result> {
    const deadline = new Deadline(timeoutMs ?? (call.isLong ? undefined : this.#timeoutMs), signal);
    try {
      for (let attempts = 1; ; attempts++) {
        try {
          return await this.#once(call, headers, deadline.signal, read);
        } catch (error) {
          const again = call.isIdempotent && attempts <= retries && isTransient(error);
          if (!again) throw error;
          const waitMs = waitBeforeRetryMs(attempts, error.retryAfterSeconds);
          // The time would be up before the next attempt: what is known now says more than a timeout.
          if (waitMs >= deadline.remainingMs) throw error;
          await deadline.sleep(waitMs);
        }
      }
    } finally {
      deadline.dispose();
    }
  }

  async #once<Result>(
    call: Call,
    headers: CallOptions['headers'],
    signal: AbortSignal,
    read: (response: Response) => Promise<Result>,
  ): Promise<Result> {
    try {
      const response = await this.#fetch(this.#url + pathOf(call), this.#init(call, headers, signal));
      if (!response.ok && !call.answers?.includes(response.status)) throw await errorOfAnswer(response);
      return await read(response);
    } catch (cause) {
      signal.throwIfAborted();
      if (call.body?.failure !== undefined) throw call.body.failure.thrown;
      if (cause instanceof EspalierClientError) throw cause;
      throw connectionError(`${call.method} ${this.#url}${call.path}`, cause);
    }
  }

  #init(
    { method, json, body, headers }: Call,
    more: CallOptions['headers'],
    signal: AbortSignal,
  ): RequestInit {
    const content = json === undefined ? body?.open() : JSON.stringify(json);
    const contentType = json === undefined ? body?.contentType : 'application/json';
    return {
      method,
      signal,
      headers: {
        ...this.#headers,
        ...(contentType !== undefined && { 'content-type': contentType }),
        ...(body?.contentEncoding !== undefined && { 'content-encoding': body.contentEncoding }),
        ...headers,
        ...more,
      },
      ...(content !== undefined && { body: content }),
      // What fetch wants to hear before it sends a stream.
      ...(content instanceof ReadableStream && { duplex: 'half' }),
    } as RequestInit;
  }
}

/** @throws EspalierClientError CLIENT_ANSWER */
export function parse<Answer>(text: string, response?: Response): Answer {
  const { status, headers } = response ?? {};
  if (status === 204) return undefined as Answer;
  try {
    return JSON.parse(text) as Answer;
  } catch (cause) {
    const requestId = headers?.get('x-request-id') ?? undefined;
    throw new EspalierClientError('CLIENT_ANSWER', `expected JSON, found ${excerpt(text)}`, {
      status,
      requestId,
      cause,
    });
  }
}

/** A name in a path. */
export function segment(name: string | number): string {
  return encodeURIComponent(name);
}

function pathOf({ path, query = {} }: Call): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  if (given.length === 0) return path;
  return `${path}?${new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]))}`;
}

/** fetch hides why it failed in its cause. */
function connectionError(what: string, cause: unknown): EspalierClientError {
  const { message, cause: inner } = cause as {
    message?: string;
    cause?: { message?: string; code?: string };
  };
  const reason = [message, inner?.code ?? inner?.message].filter(Boolean).join(': ');
  return new EspalierClientError('CLIENT_CONNECTION', `${what}: ${reason}`, { cause });
}
