import type { Message } from '@bufbuild/protobuf';
import { EspalierError, fieldError } from '../../errors.js';
import { GuardedInput } from '../guarded-input.js';
import { shuttingDown } from '../jobs/embedded-queue.js';
import type { RpcDeps } from './rpc-deps.js';
import { refuseUnknownFields } from './unknown-fields.js';

type Part<Header> = Message & {
  part:
    | { case: 'header'; value: Header }
    | { case: 'chunk'; value: Uint8Array }
    | { case: undefined; value?: undefined };
};

/** An upload that has begun may end while the server stops, unless nothing comes for so long. */
const IDLE_AT_STOP_MS = 1_000;

/** What an upload waits for, and for how long. */
export type UploadWait = Pick<RpcDeps, 'closing'> & { bodyTimeoutMs: number };

/**
 * Takes an upload's messages apart: the header that comes first, and the bytes, which are still to come.
 * @throws EspalierError ESP_REQUEST_INVALID where the first message is no header; the bytes throw it on a second one.
 *   ESP_REQUEST_STALLED where none comes within `bodyTimeoutMs`; later on the clocks of uploads apply. ESP_SHUTTING_DOWN
 */
export async function readUpload<Header>(
  messages: AsyncIterable<Part<Header>>,
  { closing, bodyTimeoutMs }: UploadWait,
): Promise<{ header: Header; chunks: AsyncGenerator<Uint8Array> }> {
  let hasBegun = false;
  const input = new GuardedInput(messages[Symbol.asyncIterator](), {
    look(idleMs) {
      if (closing.aborted && (!hasBegun || idleMs >= IDLE_AT_STOP_MS)) throw shuttingDown();
      if (hasBegun || idleMs < bodyTimeoutMs) return;
      const message = `the first message has not come within ${bodyTimeoutMs} ms`;
      throw new EspalierError('ESP_REQUEST_STALLED', message);
    },
  });
  const first = await input.next();
  if (input.ended !== undefined) throw input.ended;
  if (!first.done) refuseUnknownFields(first.value);
  const part = first.done ? undefined : first.value.part;
  if (part?.case !== 'header') throw misplaced('header', part?.case);
  hasBegun = true;
  return { header: part.value, chunks: bytesOf(input) };
}

async function* bytesOf<Header>(input: GuardedInput<Part<Header>>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { done, value } = await input.next();
    if (input.ended !== undefined) throw input.ended;
    if (done) return;
    if (value.part.case !== 'chunk') throw misplaced('chunk', value.part.case);
    // A stream of bytes ends with an empty chunk.
    if (value.part.value.length > 0) yield value.part.value;
  }
}

function misplaced(expected: string, found: string | undefined): Error {
  return fieldError('ESP_REQUEST_INVALID', 'part', `a ${expected}`, found ?? 'nothing');
}

/** What an upload's header says, as HTTP says it. */
export function uploadHeaders(header: {
  contentType: string;
  contentEncoding?: string | undefined;
  idempotencyKey?: string | undefined;
}): Record<string, string> {
  const { contentType, contentEncoding, idempotencyKey } = header;
  const headers: Record<string, string> = { 'content-type': contentType };
  if (contentEncoding !== undefined) headers['content-encoding'] = contentEncoding;
  if (idempotencyKey !== undefined) headers['idempotency-key'] = idempotencyKey;
  for (const [name, value] of Object.entries(headers)) {
    // What a header cannot hold never reaches the route that would say so.
    if (/^[\x20-\x7e]+$/.test(value) && value.length <= 255) continue;
    throw fieldError('ESP_REQUEST_INVALID', name, '1 to 255 visible ASCII characters', value.slice(0, 80));
  }
  return headers;
}
