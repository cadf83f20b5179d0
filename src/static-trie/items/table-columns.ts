import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { AttributeSchema } from '../columns.js';
import { unknownAttribute } from './check-item.js';

/**
 * Checks the columns of a table of items: `id`, `sid` and any attributes, each once.
 * @param line where a text format names them
 * @throws EspalierError ESP_UPLOAD_INVALID naming those that should not be there, or should
 */
export function checkTableColumns(names: readonly string[], schema: AttributeSchema, line?: number): void {
  const known = Object.keys(schema);
  const faults: ErrorDetail[] = [];
  for (const name of ['id', 'sid']) {
    if (!names.includes(name))
      faults.push({ field: name, expected: `a column ${name}`, found: names.join(', ') });
  }
  names.forEach((name, index) => {
    if (names.indexOf(name) < index)
      faults.push({ field: name, expected: 'each column once', found: `${name} twice` });
    else if (name !== 'id' && name !== 'sid' && !known.includes(name))
      faults.push(unknownAttribute(name, known));
  });
  if (faults.length === 0) return;
  const [{ field, expected, found }] = faults;
  throw new EspalierError('ESP_UPLOAD_INVALID', `column ${field}: expected ${expected}, found ${found}`, {
    details: faults.map((fault) => ({ ...(line !== undefined && { line }), ...fault })),
  });
}
