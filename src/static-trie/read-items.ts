import { statSync } from 'node:fs';
import { TextDecoder } from 'node:util';
import { describe, type ErrorDetail, EspalierError } from '../errors.js';
import { type CatalogVersion, CatalogVersionBuilder } from './catalog-version.js';
import type { AttributeSchema } from './columns.js';
import { parseItem } from './item-parser.js';
import type { Progress } from './progress.js';
import { readLines } from './read-lines.js';

const MAX_BAD_LINES = 100;
const PROGRESS_EVERY_LINES = 8_192;

/**
 * Reads an NDJSON file of items into a catalog version. Blank lines are skipped. All or nothing.
 * @throws EspalierError ESP_UPLOAD_INVALID with the faults of the first 100 bad lines; ESP_UPLOAD_EMPTY.
 */
export async function readItems(
  path: string,
  schema: AttributeSchema,
  codebookSizes: readonly number[],
  onProgress: Progress,
): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(schema, codebookSizes);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const totalBytes = Math.max(1, statSync(path).size);
  const faults: ErrorDetail[] = [];
  let badLines = 0;
  for await (const { number, bytes, endOffset } of readLines(path)) {
    if (number % PROGRESS_EVERY_LINES === 0) onProgress('parsing', endOffset / totalBytes);
    const lineFaults = addLine(builder, decoder, bytes, number, schema, codebookSizes);
    if (lineFaults.length === 0) continue;
    for (const fault of lineFaults) faults.push({ line: number, ...fault });
    if (++badLines === MAX_BAD_LINES) break;
  }
  if (badLines > 0) throw badUpload(faults, badLines);
  if (builder.itemCount === 0) throw new EspalierError('ESP_UPLOAD_EMPTY', 'the upload has no items');
  return builder.build({ onProgress });
}

function addLine(
  builder: CatalogVersionBuilder,
  decoder: TextDecoder,
  bytes: Buffer,
  line: number,
  schema: AttributeSchema,
  codebookSizes: readonly number[],
): ErrorDetail[] {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return [{ expected: 'UTF-8 text', found: 'bytes that are not UTF-8' }];
  }
  if (text.trim() === '') return [];
  const item = parseItem(text, schema, codebookSizes);
  if (Array.isArray(item)) return item;
  const earlierLine = builder.add(item, line);
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
