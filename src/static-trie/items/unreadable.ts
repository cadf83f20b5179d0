import { EspalierError } from '../../errors.js';

/** What a library says of a file that it can't read. */
export function unreadable(format: string, cause: unknown): EspalierError {
  const found = (cause as Error).message;
  return new EspalierError('ESP_UPLOAD_INVALID', `the upload can't be read as ${format}: ${found}`, {
    details: [{ expected: format, found }],
    cause,
  });
}
