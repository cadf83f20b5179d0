import type { Message } from '@bufbuild/protobuf';
import { fieldError } from '../../errors.js';
import { refuseUnknownFields } from './unknown-fields.js';

type Part<Header> = Message & {
  part:
    | { case: 'header'; value: Header }
    | { case: 'chunk'; value: Uint8Array }
    | { case: undefined; value?: undefined };
};

/**
 * Takes an upload's messages apart: the header that comes first, and the bytes, which are still to come.
 * @throws EspalierError ESP_REQUEST_INVALID where the first message is no header; the bytes throw it on a second one
 */
export async function readUpload<Header>(
  messages: AsyncIterable<Part<Header>>,
): Promise<{ header: Header; chunks: AsyncGenerator<Uint8Array> }> {
  const iterator = messages[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (!first.done) refuseUnknownFields(first.value);
  const part = first.done ? undefined : first.value.part;
  if (part?.case !== 'header') throw misplaced('header', part?.case);
  return { header: part.value, chunks: bytesOf(iterator) };
}

async function* bytesOf<Header>(iterator: AsyncIterator<Part<Header>>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { done, value } = await iterator.next();
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
