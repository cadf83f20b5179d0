import { EspalierError } from '../../errors.js';
import type { AttributeSchema, AttributeType } from '../columns.js';
import { addUnknownAttributes } from './check-item.js';
import { Faults, MAX_FAULTS } from './faults.js';

/** What the rows of an upload are made of. */
export interface RowShape {
  /** What a line of NDJSON is, as a fault says it. */
  jsonLine: string;
  /** How CSV reads a column other than `id` and `sid`. */
  typeOf(name: string): AttributeType;
  /** Adds what is wrong with a table's columns, each of which comes once. */
  checkColumns(names: readonly string[], faults: Faults): void;
}

/** Items: `id`, `sid` and any attributes. */
export function itemShape(schema: AttributeSchema): RowShape {
  const known = Object.keys(schema);
  return {
    jsonLine: 'one JSON object',
    typeOf: (name) => schema[name].type,
    checkColumns(names, faults) {
      for (const name of ['id', 'sid']) {
        if (names.includes(name)) continue;
        faults.add({ field: name, expected: `a column ${name}`, found: names.join(', ') });
      }
      const unknown = names.filter((name) => name !== 'id' && name !== 'sid' && !known.includes(name));
      addUnknownAttributes(unknown, known, faults);
    },
  };
}

/** Ids, or SIDs: one column. */
export const listShape: RowShape = {
  jsonLine: 'an id or a SID',
  typeOf: () => 'string',
  checkColumns(names, faults) {
    const [first] = names;
    if ((first === 'id' || first === 'sid') && names.length === 1) return;
    const expected = 'one column, either id or sid';
    faults.add({ field: first ?? 'id', expected, found: names.join(', ') || 'none' });
  },
};

/**
 * Checks the columns of a table.
 * @param line where a text format names them
 * @throws EspalierError ESP_UPLOAD_INVALID naming those that should not be there, or should
 */
export function checkTableColumns(names: readonly string[], shape: RowShape, line?: number): void {
  const faults = new Faults(MAX_FAULTS);
  const distinct = new Set<string>();
  for (const name of names) {
    if (distinct.has(name)) faults.add({ field: name, expected: 'each column once', found: `${name} twice` });
    distinct.add(name);
  }
  shape.checkColumns([...distinct], faults);
  if (faults.count === 0) return;
  const [{ field, expected, found }] = faults.told;
  const message = `column ${field}: expected ${expected}, found ${found}${faults.untold}`;
  throw new EspalierError('ESP_UPLOAD_INVALID', message, {
    details: faults.told.map((fault) => ({ ...(line !== undefined && { line }), ...fault })),
  });
}
