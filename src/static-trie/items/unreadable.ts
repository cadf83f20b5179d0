import { EspalierError } from '../../errors.js';
import { Faults } from './faults.js';

/** What a library says of a file that it can't read. */
export function unreadable(format: string, cause: unknown): EspalierError {
  const { told } = Faults.of({ expected: format, found: (cause as Error).message });
  return new EspalierError('ESP_UPLOAD_INVALID', `the upload can't be read as ${format}: ${told[0].found}`, {
    details: [...told],
    cause,
  });
}
