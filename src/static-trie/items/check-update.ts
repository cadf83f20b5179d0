import { describe } from '../../errors.js';
import type { ItemUpdate } from '../changed-items.js';
import type { AttributeSchema, AttributeValue } from '../columns.js';
import { addUnknownAttributes, checkId, isObject, parseValue } from './check-item.js';
import { Faults } from './faults.js';

/**
 * Reads `{"id", attributes…}`: new values of an item's attributes, as uploads write them; null takes a value away.
 * @returns the update, or what is wrong with what should be one
 */
export function checkUpdate(json: unknown, schema: AttributeSchema): ItemUpdate | Faults {
  if (!isObject(json)) return Faults.of({ expected: 'one JSON object', found: describe(json) });
  const faults = new Faults();
  const { id, ...given } = json;
  checkId(id, faults);
  const names = Object.keys(schema);
  const unknown: string[] = [];
  const attributes: [string, AttributeValue | null][] = [];
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(schema, name)) unknown.push(name);
    else if (value === null) attributes.push([name, null]);
    else attributes.push([name, parseValue(schema[name].type, value, name, faults) ?? null]);
  }
  addUnknownAttributes(unknown, names, faults);
  if (Object.keys(given).length === 0) {
    faults.add({
      expected: `an id and one or more of the attributes ${names.join(', ')}`,
      found: 'an id alone',
    });
  }
  return faults.count > 0 ? faults : { id: id as string, attributes: Object.fromEntries(attributes) };
}
