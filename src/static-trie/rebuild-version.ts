import { setImmediate } from 'node:timers/promises';
import { describe, EspalierError } from '../errors.js';
import type { BuildOptions } from './build-trie.js';
import type { CatalogSnapshot } from './catalog-snapshot.js';
import { type CatalogVersion, CatalogVersionBuilder, sidOf } from './catalog-version.js';
import type { ParsedItem } from './items/check-item.js';

/** Items copied between two looks at what else there is to do. */
const ITEMS_AT_A_TIME = 8_192;

/**
 * A version of a snapshot's items and of new ones. Removed items leave for good, and their ids may come again; values
 * that were changed are the version's own.
 * @param adds attributes in the order of the schema's names
 * @throws EspalierError ESP_UPLOAD_INVALID where an id is there already, ESP_UPLOAD_EMPTY where no item is left,
 *   ESP_CANCELLED
 */
export async function rebuildVersion(
  snapshot: CatalogSnapshot,
  adds: readonly ParsedItem[],
  options: BuildOptions = {},
): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(snapshot.schema, snapshot.version.trie.codebookSizes);
  await copyItems(snapshot, builder, options);
  for (const [index, item] of adds.entries()) {
    if (builder.add(item, index + 1) !== undefined) throw isThere(index, item);
  }
  if (builder.itemCount === 0) throw new EspalierError('ESP_UPLOAD_EMPTY', 'every item was removed');
  return builder.build(options);
}

async function copyItems(
  snapshot: CatalogSnapshot,
  builder: CatalogVersionBuilder,
  { onProgress, signal }: BuildOptions,
): Promise<void> {
  const { version, schema } = snapshot;
  const names = Object.keys(schema);
  const { itemCount } = version.leafItems;
  for (let item = 0; item < itemCount; item++) {
    if (item % ITEMS_AT_A_TIME === 0) {
      onProgress?.('copying', item / itemCount);
      await setImmediate();
      if (signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
    }
    if (snapshot.isRemoved(item)) continue;
    const attributes = names.map((name) => snapshot.valueOf(name, item));
    builder.add({ id: version.ids.at(item), sid: Array.from(sidOf(version, item)), attributes }, 0);
  }
}

function isThere(index: number, { id }: ParsedItem): EspalierError {
  const found = describe(id);
  return new EspalierError('ESP_UPLOAD_INVALID', `item ${index}: the catalog has an item ${found}`, {
    details: [{ field: 'id', expected: 'an id that no other item has', found }],
  });
}
