import type { FastifyMultipartBaseOptions } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { describe, EspalierError } from '../../errors.js';

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
  const parts = request.parts();
  const aborted = rejectionOf(signal);
  for (;;) {
    const next = await Promise.race([parts.next(), aborted]).catch((thrown) => {
      throw asFormError(thrown);
    });
    if (next.done === true) return;
    const part = next.value;
    if (part.type === 'field') throw notAFile(part.fieldname, part.value);
    yield { name: part.filename ?? part.fieldname ?? 'file', type: part.mimetype, stream: part.file };
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

function asFormError(thrown: unknown): unknown {
  if (thrown instanceof EspalierError) return thrown;
  const { code, message } = thrown as NodeJS.ErrnoException;
  if (code === 'FST_PARTS_LIMIT') {
    return new EspalierError('ESP_BODY_TOO_LARGE', `the form has more than ${MAX_UPLOAD_FILES} files`);
  }
  if (code === 'FST_MP_PREMATURE_CLOSE' || code === 'ECONNRESET') {
    return new EspalierError('ESP_UPLOAD_ABORTED', 'the client went away', { cause: thrown });
  }
  return new EspalierError('ESP_REQUEST_INVALID', `the body is no multipart form: ${message}`, {
    details: [{ field: 'body', expected: 'multipart/form-data', found: message }],
    cause: thrown,
  });
}
