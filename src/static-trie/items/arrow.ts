import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { DataType, type RecordBatch, RecordBatchReader, type Vector } from 'apache-arrow';
import { EspalierError } from '../../errors.js';
import { ByteBudget } from './byte-budget.js';
import type { ItemFile, ItemSource, SourceOptions, SourceRow } from './item-source.js';
import { plainValue } from './plain-value.js';
import { checkTableColumns } from './table-columns.js';
import { unpackedBytes, withUnpackedFile } from './unpacked.js';
import { unreadable } from './unreadable.js';

/** Arrow IPC, stream or file: SIDs and lists are list columns. */
export const readArrow: ItemSource = async function* (file, options) {
  let line = 0;
  for await (const batch of batchesOf(file, options)) {
    yield rowsOf(batch, line);
    line += batch.numRows;
  }
};

async function* batchesOf(file: ItemFile, options: SourceOptions): AsyncGenerator<RecordBatch> {
  if (await isFileFormat(file)) yield* withUnpackedFile(file, options, (path) => fileBatches(path, options));
  else yield* streamBatches(file, options);
}

/** The file format, which names its batches at its end, begins with a magic; the stream format has none. */
async function isFileFormat(file: ItemFile): Promise<boolean> {
  const options = { budget: new ByteBudget(Number.POSITIVE_INFINITY), onProgress: () => {} };
  for await (const bytes of unpackedBytes(file, options)) return bytes.toString('latin1', 0, 6) === 'ARROW1';
  return false;
}

async function* streamBatches(file: ItemFile, options: SourceOptions): AsyncGenerator<RecordBatch> {
  let failure: unknown;
  async function* bytes() {
    try {
      yield* unpackedBytes(file, options);
    } catch (thrown) {
      failure = thrown;
      throw thrown;
    }
  }
  try {
    yield* batches(RecordBatchReader.from(Readable.from(bytes(), { objectMode: false })), options);
  } catch (thrown) {
    // The reader says of a failing stream only that it ended.
    throw failure ?? thrown;
  }
}

/** Reads batch by batch: files may be larger than memory. */
async function* fileBatches(path: string, options: SourceOptions): AsyncGenerator<RecordBatch> {
  const handle = await open(path);
  try {
    yield* batches(RecordBatchReader.from(handle), options);
  } finally {
    await handle.close();
  }
}

async function* batches(
  opening: Promise<RecordBatchReader> | RecordBatchReader,
  { shape, onProgress }: SourceOptions,
): AsyncGenerator<RecordBatch> {
  try {
    const reader = await opening;
    await reader.open();
    const names = reader.schema.fields.map(({ name }) => name);
    checkTableColumns(names, shape);
    const total = reader.isFile() ? reader.numRecordBatches : undefined;
    let read = 0;
    for await (const batch of reader) {
      yield batch;
      if (total !== undefined) onProgress('parsing', ++read / total);
    }
  } catch (thrown) {
    throw thrown instanceof EspalierError ? thrown : unreadable('Arrow IPC', thrown);
  }
}

function rowsOf(batch: RecordBatch, before: number): SourceRow[] {
  const columns = batch.schema.fields.map(({ name, type }) => {
    const vector = batch.getChild(name) as Vector;
    return { name, valueAt: (row: number) => jsonValue(vector.get(row), type) };
  });
  return Array.from({ length: batch.numRows }, (_, row): SourceRow => {
    const item: Record<string, unknown> = {};
    for (const { name, valueAt } of columns) item[name] = valueAt(row);
    return { line: before + row + 1, item };
  });
}

function jsonValue(value: unknown, type: DataType): unknown {
  if (value === null) return undefined;
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    return Array.from(value as Vector, (entry) => jsonValue(entry, type.children[0].type));
  }
  // Milliseconds since 1970; what has finer parts stays a number, which no time is.
  const isTime = DataType.isTimestamp(type) || DataType.isDate(type);
  if (isTime && Number.isInteger(value)) return new Date(value as number).toISOString();
  return plainValue(value);
}
