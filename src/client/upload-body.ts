import type { UploadOptions } from './options.js';
import type { CallBody } from './transport.js';

/** A piece of a file as it is, or an item, an id or a SID, which becomes a line of NDJSON. */
export type UploadPart = Uint8Array | string | object;

/**
 * What can be uploaded: a whole file (text, bytes, a `Blob` or `File`, a form of several), a list of items, or a stream
 * of pieces or items. A function that opens such a stream anew lets the upload be tried again when it breaks off;
 * a stream itself can be sent only once.
 *
 * Text in a list or a stream is a piece of a file, not an id: lists of ids are objects, `{ id }`.
 */
export type UploadSource =
  | string
  | Uint8Array<ArrayBuffer>
  | ArrayBuffer
  | Blob
  | FormData
  | readonly UploadPart[]
  | UploadStream
  | (() => UploadStream);
export type UploadStream = ReadableStream<Uint8Array> | AsyncIterable<UploadPart> | Iterable<UploadPart>;

const contentTypes = {
  ndjson: 'application/x-ndjson',
  csv: 'text/csv',
  parquet: 'application/vnd.apache.parquet',
  arrow: 'application/vnd.apache.arrow.stream',
} as const;

/** @returns the body, and whether it can be sent more than once. */
export function uploadBody(
  source: UploadSource,
  { format = 'ndjson', isGzip }: UploadOptions,
): { body: CallBody; isRepeatable: boolean } {
  const file = { contentType: contentTypes[format], contentEncoding: isGzip ? 'gzip' : undefined };
  // A form's own type has its boundary, which fetch chooses.
  if (source instanceof FormData) return { body: { open: () => source }, isRepeatable: true };
  if (isWhole(source)) return { body: { ...file, open: () => source }, isRepeatable: true };
  const body: CallBody = {
    ...file,
    open: () => streamOf(typeof source === 'function' ? source() : source, body),
  };
  return { body, isRepeatable: typeof source === 'function' || Array.isArray(source) };
}

function isWhole(source: UploadSource): source is string | Uint8Array<ArrayBuffer> | ArrayBuffer | Blob {
  return (
    typeof source === 'string' ||
    source instanceof Uint8Array ||
    source instanceof ArrayBuffer ||
    source instanceof Blob
  );
}

/** Pulled from as the server reads: nothing is collected here. */
function streamOf(source: UploadStream, body: CallBody): ReadableStream<Uint8Array> {
  if (source instanceof ReadableStream) return source;
  const encoder = new TextEncoder();
  const parts = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await parts.next();
        if (done) controller.close();
        else controller.enqueue(value instanceof Uint8Array ? value : encoder.encode(textOf(value)));
      } catch (thrown) {
        body.failure = { thrown };
        throw thrown;
      }
    },
    async cancel() {
      await parts.return?.();
    },
  });
}

function textOf(part: string | object): string {
  return typeof part === 'string' ? part : `${JSON.stringify(part)}\n`;
}
