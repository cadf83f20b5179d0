import type { ErrorCode, ErrorDetail, PlainError } from '../errors.js';

/**
 * What goes wrong on this side of the connection. `CLIENT_TIMEOUT`: the deadline passed. `CLIENT_CONNECTION`: no
 * answer came, or it broke off. `CLIENT_ANSWER`: what came is not what an Espalier server answers.
 */
export type ClientErrorCode = 'CLIENT_TIMEOUT' | 'CLIENT_CONNECTION' | 'CLIENT_ANSWER';

/** What is known of an error beside its code and message. */
export interface ClientErrorFacts {
  status?: number | undefined;
  details?: ErrorDetail[] | undefined;
  retryAfterSeconds?: number | undefined;
  requestId?: string | undefined;
  cause?: unknown;
}

/** An error answer of the server, the error of a job that failed, or one of the client's own. */
export class EspalierClientError extends Error {
  override readonly name = 'EspalierClientError';
  /** `ESP_…` as in docs/errors.md, or one of the client's. Newer servers may know further ones. */
  readonly code: ErrorCode | ClientErrorCode | (string & {});
  /** Of the HTTP answer, where there was one. */
  readonly status: number | undefined;
  readonly details: ErrorDetail[];
  readonly retryAfterSeconds: number | undefined;
  /** Names the request in the server's log. */
  readonly requestId: string | undefined;

  constructor(code: EspalierClientError['code'], message: string, facts: ClientErrorFacts = {}) {
    super(`${code}: ${message}`, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status;
    this.details = facts.details ?? [];
    this.retryAfterSeconds = facts.retryAfterSeconds;
    this.requestId = facts.requestId;
  }

  static fromPlain({ code, message, details }: PlainErrorLike, facts: ClientErrorFacts = {}) {
    return new EspalierClientError(code, message, { ...facts, details });
  }
}

/** A server's error as it comes over the wire: its code may be newer than this client. */
export type PlainErrorLike = Omit<PlainError, 'code'> & { code: string };

/** The error of an answer other than 2xx, also where a proxy wrote it and not the server. */
export async function errorOfAnswer(response: Response): Promise<EspalierClientError> {
  const facts = {
    status: response.status,
    retryAfterSeconds: retryAfterSeconds(response.headers.get('retry-after')),
    requestId: response.headers.get('x-request-id') ?? undefined,
  };
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { error?: Partial<PlainErrorLike> };
    if (typeof error?.code === 'string' && typeof error.message === 'string') {
      return EspalierClientError.fromPlain(error as PlainErrorLike, facts);
    }
  } catch {
    // Not JSON: a proxy's page, which is told below.
  }
  return new EspalierClientError('CLIENT_ANSWER', `${response.status}: ${excerpt(text)}`, facts);
}

/** For messages: what came instead of what was expected. */
export function excerpt(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 199)}…` : text);
}

/** A `Retry-After`, in seconds or as a date. */
function retryAfterSeconds(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const seconds = (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}
