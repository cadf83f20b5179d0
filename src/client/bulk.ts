import { EspalierClientError } from './errors.js';
import { linesOf } from './lines.js';
import type { CallOptions } from './options.js';
import { parse, type Transport } from './transport.js';
import type { BatchAnswer, RecommendRequest } from './types.js';

const WINDOW_REQUESTS = 256;
const WINDOW_CHARS = 1 << 19;

/**
 * Any number of requests, answered in their order. They are sent in windows, each a call that can be repeated: a
 * connection that breaks off costs one window and no answer comes twice. One window is ahead of the reader, so that
 * the server is busy while answers are read, and no more than that is ever in memory.
 */
export async function* recommendBulk<Attributes extends object>(
  transport: Transport,
  requests: Iterable<RecommendRequest> | AsyncIterable<RecommendRequest>,
  options: CallOptions,
): AsyncGenerator<BatchAnswer<Attributes>, void, undefined> {
  const stop = new AbortController();
  const forward = () => stop.abort(options.signal?.reason);
  if (options.signal?.aborted) forward();
  options.signal?.addEventListener('abort', forward, { once: true });
  const send = (lines: string[]) => {
    const sent = sendWindow<Attributes>(transport, lines, { ...options, signal: stop.signal });
    // Whoever stops reading never awaits the last one.
    sent.catch(() => {});
    return sent;
  };
  try {
    let ahead: Promise<BatchAnswer<Attributes>[]> | undefined;
    for await (const lines of windowsOf(requests)) {
      const next = send(lines);
      if (ahead !== undefined) yield* await ahead;
      ahead = next;
    }
    if (ahead !== undefined) yield* await ahead;
  } finally {
    options.signal?.removeEventListener('abort', forward);
    stop.abort();
  }
}

async function* windowsOf(
  requests: Iterable<RecommendRequest> | AsyncIterable<RecommendRequest>,
): AsyncGenerator<string[], void, undefined> {
  let lines: string[] = [];
  let chars = 0;
  for await (const request of requests) {
    const line = JSON.stringify(request);
    if (lines.length === WINDOW_REQUESTS || (lines.length > 0 && chars + line.length > WINDOW_CHARS)) {
      yield lines;
      lines = [];
      chars = 0;
    }
    lines.push(line);
    chars += line.length;
  }
  if (lines.length > 0) yield lines;
}

function sendWindow<Attributes extends object>(
  transport: Transport,
  lines: readonly string[],
  options: CallOptions,
): Promise<BatchAnswer<Attributes>[]> {
  const content = `${lines.join('\n')}\n`;
  const call = {
    method: 'POST',
    path: '/v1/bulk-recommendations',
    body: { contentType: 'application/x-ndjson', open: () => content },
    isIdempotent: true,
    isLong: true,
  } as const;
  return transport.attempt(call, options, async (response) => {
    const answers: BatchAnswer<Attributes>[] = [];
    for await (const line of linesOf(response.body!)) {
      if (line !== '') answers.push(parse<BatchAnswer<Attributes>>(line, response));
    }
    if (answers.length === lines.length) return answers;
    const message = `expected ${lines.length} answers, found ${answers.length}`;
    throw new EspalierClientError('CLIENT_CONNECTION', message, { status: response.status });
  });
}
