import type { CatalogChange } from './change-lines.js';
import { setValues } from './changed-items.js';
import type { AttributeSchema } from './columns.js';
import type { ParsedItem } from './items/check-item.js';

/**
 * New items whose version is still to be built, as small changes that came after them leave them: without those that
 * were removed, and with the values that they were given.
 * @param adds each id once; not changed
 * @param changes those that came after the items, in their order
 * @throws EspalierError ESP_ATTRIBUTE_NOT_FOUND on a name that is not in the schema
 */
export function changedAdds(
  adds: readonly ParsedItem[],
  changes: readonly CatalogChange[],
  schema: AttributeSchema,
): ParsedItem[] {
  const items = new Map(adds.map((item) => [item.id, item]));
  for (const { remove = [], update = [] } of changes) {
    for (const id of remove) items.delete(id);
    for (const { id, attributes } of update) {
      const item = items.get(id);
      if (item !== undefined) {
        items.set(id, { ...item, attributes: setValues(item.attributes, attributes, schema) });
      }
    }
  }
  return [...items.values()];
}
