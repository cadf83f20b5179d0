import { EspalierClientError } from './errors.js';
import { linesOf } from './lines.js';
import type { CallOptions } from './options.js';
import { parse, type Transport } from './transport.js';
import type { Job } from './types.js';

/** The server says something every 15 seconds; one that is silent for so long is not there any more. */
const SILENCE_MS = 45_000;

/**
 * The jobs of one stream of server-sent events, until it ends.
 * @throws EspalierClientError CLIENT_CONNECTION where it breaks off or falls silent
 */
export async function* jobsOf(
  transport: Transport,
  path: string,
  options: CallOptions,
): AsyncGenerator<Job, void, undefined> {
  const call = { method: 'GET', path, headers: { accept: 'text/event-stream' }, isIdempotent: true } as const;
  const stop = new AbortController();
  const forward = () => stop.abort(options.signal?.reason);
  if (options.signal?.aborted) forward();
  options.signal?.addEventListener('abort', forward, { once: true });
  // Also while the connection is opened.
  const silence = new Silence(stop);
  try {
    const response = await transport.open(call, { ...options, signal: stop.signal });
    let data = '';
    for await (const line of linesOf(response.body!)) {
      silence.broken();
      if (line.startsWith('data:')) data += line.slice(5).trimStart();
      if (line !== '' || data === '') continue;
      yield parse<{ job: Job }>(data, response).job;
      data = '';
    }
  } catch (cause) {
    options.signal?.throwIfAborted();
    if (cause instanceof EspalierClientError) throw cause;
    throw new EspalierClientError('CLIENT_CONNECTION', `${path}: ${(cause as Error).message}`, { cause });
  } finally {
    silence.end();
    options.signal?.removeEventListener('abort', forward);
    stop.abort();
  }
}

/** Aborts a stream from which nothing comes, not even the comments that keep it open. */
class Silence {
  readonly #stop: AbortController;
  #timer: ReturnType<typeof setTimeout>;

  constructor(stop: AbortController) {
    this.#stop = stop;
    this.#timer = this.#begin();
  }

  broken(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#begin();
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #begin(): ReturnType<typeof setTimeout> {
    const silent = () =>
      this.#stop.abort(new EspalierClientError('CLIENT_CONNECTION', 'the stream fell silent'));
    return setTimeout(silent, SILENCE_MS);
  }
}
