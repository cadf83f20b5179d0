import { Deadline } from './deadline.js';
import { EspalierClientError } from './errors.js';
import type { CallOptions } from './options.js';
import { isTransient, waitBeforeRetryMs } from './retry.js';
import type { Transport } from './transport.js';

/**
 * A body that can be long. Where it breaks off it goes on with the byte that is next, after as many failures in a row as
 * there are retries.
 * @throws EspalierClientError, as its reader does; the reason of the caller's abort
 */
export function download(
  transport: Transport,
  path: string,
  { signal, headers, retries = transport.retries }: Pick<CallOptions, 'signal' | 'headers' | 'retries'>,
): ReadableStream<Uint8Array> {
  const deadline = new Deadline(undefined, signal);
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  let etag: string | null = null;
  let received = 0;
  let failures = 0;

  async function open(): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const rest = received === 0 ? undefined : { range: `bytes=${received}-`, 'if-range': etag! };
    const call = { method: 'GET', path, isIdempotent: true, ...(rest && { headers: rest }) } as const;
    const response = await transport.open(call, { signal: deadline.signal, headers });
    if (rest !== undefined && response.status !== 206) {
      await response.body?.cancel();
      const message = `${path}: the answer broke off after ${received} bytes, and has changed since`;
      throw new EspalierClientError('CLIENT_ANSWER', message, { status: response.status });
    }
    etag = response.headers.get('etag');
    return response.body!.getReader();
  }

  async function next(): Promise<Uint8Array | undefined> {
    for (;;) {
      try {
        reader ??= await open();
        const { done, value } = await reader.read();
        if (done) return undefined;
        received += value.byteLength;
        failures = 0;
        return value;
      } catch (thrown) {
        deadline.check();
        const error = ofConnection(path, thrown);
        const canGoOn = received === 0 || etag !== null;
        if (!canGoOn || !isTransient(error) || ++failures > retries) throw error;
        reader = undefined;
        await deadline.sleep(waitBeforeRetryMs(failures, error.retryAfterSeconds));
      }
    }
  }

  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const bytes = await next();
          if (bytes !== undefined) return controller.enqueue(bytes);
          controller.close();
        } catch (error) {
          controller.error(error);
        }
        deadline.dispose();
      },
      async cancel(reason) {
        deadline.dispose();
        await reader?.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}

/** A body's reader throws what fetch does. */
function ofConnection(path: string, thrown: unknown): EspalierClientError {
  if (thrown instanceof EspalierClientError) return thrown;
  const message = `${path}: ${(thrown as Error).message}`;
  return new EspalierClientError('CLIENT_CONNECTION', message, { cause: thrown });
}
