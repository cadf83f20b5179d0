import { changeHeaders, isUnconditional, type UploadOptions } from './options.js';
import type { Transport } from './transport.js';
import type { StartedBuild } from './types.js';
import { type UploadSource, uploadBody } from './upload-body.js';

/**
 * Sends a file. All attempts bear one Idempotency-Key, so that one whose answer was lost is not built twice.
 * @throws EspalierClientError; what the source of a stream throws
 */
export function upload(
  transport: Transport,
  path: string,
  source: UploadSource,
  options: UploadOptions,
): Promise<StartedBuild> {
  const { body, isRepeatable } = uploadBody(source, options);
  const call = {
    method: 'POST',
    path,
    query: { activate: options.activate },
    body,
    headers: { ...changeHeaders(options), 'idempotency-key': options.idempotencyKey ?? newKey() },
    isIdempotent: isRepeatable && isUnconditional(options),
    isLong: true,
  } as const;
  return transport.json(call, options);
}

/** Not `randomUUID`, which browsers have on secure pages only. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
