import { describe, type ErrorDetail } from '../../errors.js';
import type { ItemUpdate } from '../changed-items.js';
import type { AttributeSchema, AttributeValue } from '../columns.js';
import { checkId, isObject, parseValue, unknownAttribute } from './check-item.js';

/**
 * Reads `{"id", attributes…}`: new values of an item's attributes, as uploads write them; null takes a value away.
 * @returns the update, or everything that is wrong with what should be one
 */
export function checkUpdate(json: unknown, schema: AttributeSchema): ItemUpdate | ErrorDetail[] {
  if (!isObject(json)) return [{ expected: 'one JSON object', found: describe(json) }];
  const faults: ErrorDetail[] = [];
  const { id, ...given } = json;
  checkId(id, faults);
  const names = Object.keys(schema);
  const attributes: [string, AttributeValue | null][] = [];
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(schema, name)) faults.push(unknownAttribute(name, names));
    else if (value === null) attributes.push([name, null]);
    else attributes.push([name, parseValue(schema[name].type, value, name, faults) ?? null]);
  }
  if (Object.keys(given).length === 0) {
    faults.push({
      expected: `an id and one or more of the attributes ${names.join(', ')}`,
      found: 'an id alone',
    });
  }
  return faults.length > 0 ? faults : { id: id as string, attributes: Object.fromEntries(attributes) };
}
