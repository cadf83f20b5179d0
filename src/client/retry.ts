import { EspalierClientError } from './errors.js';

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 10_000;
const TRANSIENT_STATUSES = new Set([429, 502, 503]);

/**
 * Whether the same call may succeed a moment later. What the server refused before it did anything (429, 503), what
 * never got an answer, of the server or of a proxy before it (502), and an upload whose first attempt is still being
 * received.
 */
export function isTransient(error: unknown): error is EspalierClientError {
  if (!(error instanceof EspalierClientError)) return false;
  if (error.code === 'CLIENT_CONNECTION' || TRANSIENT_STATUSES.has(error.status!)) return true;
  return error.code === 'ESP_IDEMPOTENCY_KEY' && error.retryAfterSeconds !== undefined;
}

/**
 * How long to wait before an attempt: full jitter (anything up to a limit that doubles), so that clients that were
 * refused together do not come back together. `Retry-After` is waited for first.
 * @param attempts that have failed so far, at least 1
 */
export function waitBeforeRetryMs(
  attempts: number,
  retryAfterSeconds: number | undefined,
  random: () => number = Math.random,
): number {
  const limit = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempts - 1));
  return (retryAfterSeconds ?? 0) * 1000 + random() * limit;
}
