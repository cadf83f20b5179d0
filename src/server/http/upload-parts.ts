import type { FastifyMultipartBaseOptions } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { describe, EspalierError, fieldError } from '../../errors.js';
import { BoundaryCounter } from './boundary-counter.js';

export const MAX_UPLOAD_FILES = 1_000;

/** One file of a form. */
export interface FilePart {
  /** The file's, or that of the form's field where the file has none. */
  name: string;
  /** The content type without its parameters; text/plain where there is none. */
  type: string;
  /** To be read to its end before the next part comes. */
  stream: NodeJS.ReadableStream;
}

/** How the form is parsed. The sizes of files are counted by whoever reads them. */
export const formOptions = {
  limits: {
    fileSize: Number.POSITIVE_INFINITY,
    // One more, so that what is too much is an error rather than left out.
    parts: MAX_UPLOAD_FILES,
    fieldSize: 1 << 10,
    headerPairs: 32,
  },
  // A part without a name of a file is a file still where it has a content type.
  isPartAFile: (_field, type, name) => name !== undefined || type !== 'text/plain',
} satisfies FastifyMultipartBaseOptions;

/**
 * The files of a form, in their order.
 * @param signal ends the wait for the next part; its reason is thrown
 * @throws EspalierError ESP_REQUEST_INVALID on a field that is no file, and on what is no form; ESP_BODY_TOO_LARGE on
 *   too many files; ESP_UPLOAD_ABORTED
 */
export async function* partsOf(request: FastifyRequest, signal: AbortSignal): AsyncGenerator<FilePart> {
  const boundaries = new BoundaryCounter(request.headers['content-type']!);
  request.raw.on('data', boundaries.take);
  const parts = request.parts();
  const aborted = rejectionOf(signal);
  let count = 0;
  try {
    for (;;) {
      const next = await Promise.race([parts.next(), aborted]);
      if (next.done === true) break;
      const part = next.value;
      if (part.type === 'field') throw notAFile(part.fieldname, part.value);
      yield { name: part.filename ?? part.fieldname ?? 'file', type: part.mimetype, stream: part.file };
      count++;
    }
    checkCount(count, boundaries.partCount);
  } finally {
    request.raw.off('data', boundaries.take);
  }
}

function checkCount(count: number, expected: number): void {
  if (count === 0) throw badForm(`1 to ${MAX_UPLOAD_FILES} files`, 'none');
  if (count < expected) {
    throw badForm(`a content-disposition with a name in all ${expected} parts`, `${count} that have one`);
  }
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  const rejection = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  // Nobody may be waiting when it comes.
  rejection.catch(() => {});
  return rejection;
}

function notAFile(field: string, value: unknown): EspalierError {
  const found = describe(value);
  return new EspalierError('ESP_REQUEST_INVALID', `${field}: expected a file, found ${found}`, {
    details: [{ field, expected: 'a file', found }],
  });
}

/** What the parser throws, as an error for callers; anything else is returned as it is. */
export function asFormError(thrown: unknown): unknown {
  const { code, message } = thrown as NodeJS.ErrnoException;
  if (code === 'FST_PARTS_LIMIT') {
    return new EspalierError('ESP_BODY_TOO_LARGE', `the form has more than ${MAX_UPLOAD_FILES} files`);
  }
  if (code === 'FST_MP_PREMATURE_CLOSE') {
    return new EspalierError('ESP_UPLOAD_ABORTED', 'the client went away', { cause: thrown });
  }
  const isOfParser = code?.startsWith('FST_') === true || PARSER_MESSAGE.test(message);
  return isOfParser ? badForm('multipart/form-data', message, thrown) : thrown;
}

/** The parser's errors have no codes. */
const PARSER_MESSAGE = /multipart|needle|terminated early/i;

function badForm(expected: string, found: string, cause?: unknown): EspalierError {
  return fieldError('ESP_REQUEST_INVALID', 'body', expected, found, cause);
}
