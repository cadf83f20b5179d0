import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { AttributeSchema, AttributeType } from '../columns.js';
import { unknownAttribute } from './check-item.js';

/** What the rows of an upload are made of. */
export interface RowShape {
  /** What a line of NDJSON is, as a fault says it. */
  jsonLine: string;
  /** How CSV reads a column other than `id` and `sid`. */
  typeOf(name: string): AttributeType;
  /** What is wrong with a table's columns, each of which comes once. */
  columnFaults(names: readonly string[]): ErrorDetail[];
}

/** Items: `id`, `sid` and any attributes. */
export function itemShape(schema: AttributeSchema): RowShape {
  const known = Object.keys(schema);
  return {
    jsonLine: 'one JSON object',
    typeOf: (name) => schema[name].type,
    columnFaults: (names) => [
      ...['id', 'sid']
        .filter((name) => !names.includes(name))
        .map((name) => ({ field: name, expected: `a column ${name}`, found: names.join(', ') })),
      ...names
        .filter((name) => name !== 'id' && name !== 'sid' && !known.includes(name))
        .map((name) => unknownAttribute(name, known)),
    ],
  };
}

/** Ids, or SIDs: one column. */
export const listShape: RowShape = {
  jsonLine: 'an id or a SID',
  typeOf: () => 'string',
  columnFaults: ([first, ...others]) => {
    if ((first === 'id' || first === 'sid') && others.length === 0) return [];
    const expected = 'one column, either id or sid';
    return [{ field: first ?? 'id', expected, found: [first, ...others].join(', ') || 'none' }];
  },
};

/**
 * Checks the columns of a table.
 * @param line where a text format names them
 * @throws EspalierError ESP_UPLOAD_INVALID naming those that should not be there, or should
 */
export function checkTableColumns(names: readonly string[], shape: RowShape, line?: number): void {
  const distinct = [...new Set(names)];
  const repeated = names.filter((name, index) => names.indexOf(name) < index);
  const faults: ErrorDetail[] = [
    ...repeated.map((name) => ({ field: name, expected: 'each column once', found: `${name} twice` })),
    ...shape.columnFaults(distinct),
  ];
  if (faults.length === 0) return;
  const [{ field, expected, found }] = faults;
  throw new EspalierError('ESP_UPLOAD_INVALID', `column ${field}: expected ${expected}, found ${found}`, {
    details: faults.map((fault) => ({ ...(line !== undefined && { line }), ...fault })),
  });
}
