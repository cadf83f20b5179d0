import { EspalierError } from '../../errors.js';
import type { AttributeSchema } from '../columns.js';
import { checkColumnNames } from './check-item.js';

/** @throws EspalierError ESP_UPLOAD_INVALID naming the columns that a file of typed columns should not or should have */
export function checkTableColumns(names: readonly string[], schema: AttributeSchema): void {
  const faults = checkColumnNames(names, schema);
  if (faults.length === 0) return;
  const [{ field, expected, found }] = faults;
  throw new EspalierError('ESP_UPLOAD_INVALID', `column ${field}: expected ${expected}, found ${found}`, {
    details: faults,
  });
}

/** What a library says of a file that it can't read. */
export function unreadable(format: string, cause: unknown): EspalierError {
  const found = (cause as Error).message;
  return new EspalierError('ESP_UPLOAD_INVALID', `the upload can't be read as ${format}: ${found}`, {
    details: [{ expected: format, found }],
    cause,
  });
}
