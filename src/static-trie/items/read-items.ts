import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, type ErrorDetail, EspalierError } from '../../errors.js';
import { type CatalogVersion, CatalogVersionBuilder } from '../catalog-version.js';
import type { AttributeSchema } from '../columns.js';
import type { Progress } from '../progress.js';
import { readArrow } from './arrow.js';
import { checkItem } from './check-item.js';
import { readCsv } from './csv.js';
import type { ItemFile, ItemFormat, ItemSource, SourceRow } from './item-source.js';
import { readNdjson } from './ndjson.js';
import { readParquet } from './parquet.js';

const MAX_BAD_LINES = 100;

const sources: Record<ItemFormat, ItemSource> = {
  ndjson: readNdjson,
  csv: readCsv,
  parquet: readParquet,
  arrow: readArrow,
};

/**
 * Reads a file of items into a catalog version. All or nothing.
 * @param file its path alone: NDJSON, not packed
 * @param maxBytes how large the file may become when it is unpacked
 * @throws EspalierError ESP_UPLOAD_INVALID with the faults of the first 100 bad lines; ESP_UPLOAD_EMPTY;
 *   ESP_BODY_TOO_LARGE; ESP_CANCELLED once the signal is aborted
 * @see docs/uploads.md
 */
export async function readItems(
  file: string | ItemFile,
  schema: AttributeSchema,
  codebookSizes: readonly number[],
  onProgress: Progress,
  maxBytes = Number.POSITIVE_INFINITY,
  signal?: AbortSignal,
): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(schema, codebookSizes);
  const upload = typeof file === 'string' ? plainFile(file) : file;
  const faults: ErrorDetail[] = [];
  let badLines = 0;
  reading: for await (const rows of sources[upload.format](upload, { schema, maxBytes, onProgress })) {
    if (signal !== undefined) await checkCancelled(signal);
    for (const row of rows) {
      const rowFaults = addRow(builder, row, schema, codebookSizes);
      if (rowFaults.length === 0) continue;
      for (const fault of rowFaults) faults.push({ line: row.line, ...fault });
      if (++badLines === MAX_BAD_LINES) break reading;
    }
  }
  if (badLines > 0) throw badUpload(faults, badLines);
  if (builder.itemCount === 0) throw new EspalierError('ESP_UPLOAD_EMPTY', 'the upload has no items');
  return builder.build({ onProgress, signal });
}

/** Whoever aborts the signal does so in a turn of the event loop, which a source that has all rows never yields. */
async function checkCancelled(signal: AbortSignal): Promise<void> {
  await nextTurn();
  if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
}

function plainFile(path: string): ItemFile {
  return { path, format: 'ndjson', isGzip: false };
}

function addRow(
  builder: CatalogVersionBuilder,
  row: SourceRow,
  schema: AttributeSchema,
  codebookSizes: readonly number[],
): ErrorDetail[] {
  if ('faults' in row) return row.faults;
  const item = checkItem(row.item, schema, codebookSizes);
  if (Array.isArray(item)) return item;
  const earlierLine = builder.add(item, row.line);
  if (earlierLine === undefined) return [];
  return [
    {
      field: 'id',
      expected: 'an id that no other item has',
      found: `${describe(item.id)}, as on line ${earlierLine}`,
    },
  ];
}

function badUpload(faults: ErrorDetail[], badLines: number): EspalierError {
  const { line, field, expected, found } = faults[0];
  const place = field === undefined ? `line ${line}` : `line ${line}, field ${field}`;
  const count = badLines === MAX_BAD_LINES ? `at least ${badLines}` : badLines;
  const message = `${count} bad line${badLines === 1 ? '' : 's'}; first: ${place}: expected ${expected}, found ${found}`;
  return new EspalierError('ESP_UPLOAD_INVALID', message, { details: faults });
}
