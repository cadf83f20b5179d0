import { describe, type ErrorDetail, EspalierError } from '../../errors.js';
import { type CatalogVersion, CatalogVersionBuilder } from '../catalog-version.js';
import type { AttributeSchema } from '../columns.js';
import { checkItem } from './check-item.js';
import { Faults } from './faults.js';
import type { ItemFile } from './item-source.js';
import { type ReadOptions, readRows } from './read-rows.js';
import { itemShape } from './table-columns.js';

/**
 * Reads files of items into one catalog version. All or nothing.
 * @param files one or several; a path alone: NDJSON, not packed
 * @throws EspalierError ESP_UPLOAD_INVALID with the first 100 faults, of each line 10 at most; ESP_UPLOAD_EMPTY;
 *   ESP_BODY_TOO_LARGE; ESP_CANCELLED
 * @see docs/uploads.md
 */
export async function readItems(
  files: string | ItemFile | readonly ItemFile[],
  schema: AttributeSchema,
  codebookSizes: readonly number[],
  options: ReadOptions = {},
): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(schema, codebookSizes);
  await readRows(filesOf(files), itemShape(schema), options, (value, place, places) => {
    const item = checkItem(value, schema, codebookSizes);
    if (item instanceof Faults) return item;
    const earlier = builder.add(item, place);
    return earlier === undefined ? undefined : Faults.of(duplicate(item.id, places.detail(earlier)));
  });
  if (builder.itemCount === 0) throw new EspalierError('ESP_UPLOAD_EMPTY', 'the upload has no items');
  const { onProgress, signal } = options;
  return builder.build({ ...(onProgress && { onProgress }), ...(signal && { signal }) });
}

function filesOf(files: string | ItemFile | readonly ItemFile[]): readonly ItemFile[] {
  if (typeof files === 'string') return [{ path: files, format: 'ndjson', isGzip: false }];
  return 'path' in files ? [files] : files;
}

function duplicate(id: string, { file, line }: Pick<ErrorDetail, 'file' | 'line'>): ErrorDetail {
  const place = file === undefined ? `line ${line}` : `line ${line} of ${file}`;
  return {
    field: 'id',
    expected: 'an id that no other item has',
    found: `${describe(id)}, as on ${place}`,
  };
}
