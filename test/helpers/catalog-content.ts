import { type AttributeValue, type CatalogVersion, sidOf, valueAt } from '../../src/static-trie/index.js';

export interface ItemContent {
  id: string;
  sid: number[];
  values: Record<string, AttributeValue | undefined>;
}

/** The ids of a catalog version, by item number. */
export function idsOf({ ids }: CatalogVersion): string[] {
  return Array.from({ length: ids.length }, (_, item) => ids.at(item));
}

/** What a catalog version says of its items, read as the server reads it; each is also looked up by its id. */
export function contentOf(version: CatalogVersion): {
  codebookSizes: readonly number[];
  items: ItemContent[];
} {
  const items = idsOf(version).map((id, item) => {
    if (version.ids.find(id) !== item) throw new Error(`${id} is not found at item ${item}`);
    const values: ItemContent['values'] = {};
    for (const [name, column] of version.table.columns) values[name] = valueAt(column, item);
    return { id, sid: Array.from(sidOf(version, item)), values };
  });
  return { codebookSizes: version.trie.codebookSizes, items };
}
