import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import {
  DataType,
  type Date_,
  DateUnit,
  type RecordBatch,
  RecordBatchReader,
  type Timestamp,
  type Vector,
} from 'apache-arrow';
import { EspalierError } from '../../errors.js';
import { ByteBudget } from './byte-budget.js';
import { exactTime, type TableTimeUnit } from './exact-time.js';
import type { ItemFile, ItemSource, SourceOptions, SourceRow } from './item-source.js';
import { plainRow } from './plain-value.js';
import { checkTableColumns } from './table-columns.js';
import { unpackedBytes, withUnpackedFile } from './unpacked.js';
import { unreadable } from './unreadable.js';

/** Arrow IPC, stream or file: SIDs and lists are list columns. */
export const readArrow: ItemSource = async function* (file, options) {
  let line = 0;
  for await (const batch of batchesOf(file, options)) {
    let rows: SourceRow[];
    try {
      rows = rowsOf(batch, line);
    } catch (thrown) {
      throw unreadable('Arrow IPC', thrown);
    }
    yield rows;
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
    return { name, read: (row: number) => valueAt(vector, row, type) };
  });
  return Array.from({ length: batch.numRows }, (_, row): SourceRow => {
    const values = columns.map(({ name, read }): [string, unknown] => [name, read(row)]);
    return plainRow(before + row + 1, values);
  });
}

function valueAt(vector: Vector, row: number, type: DataType): unknown {
  if (!vector.isValid(row)) return undefined;
  const unit = timeUnitOf(type);
  // As it was counted: the library gives milliseconds as a double, which is not exact, and fails on times far away.
  if (unit !== undefined) return exactTime(BigInt(vector.data[0].values[row]), unit);
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    const entries = vector.get(row) as Vector;
    const entryType = type.children[0].type;
    return Array.from({ length: entries.length }, (_, index) => valueAt(entries, index, entryType));
  }
  return vector.get(row);
}

const TIMESTAMP_UNITS = ['seconds', 'milliseconds', 'microseconds', 'nanoseconds'] as const;

function timeUnitOf(type: DataType): TableTimeUnit | undefined {
  if (DataType.isTimestamp(type)) return TIMESTAMP_UNITS[(type as Timestamp).unit];
  if (DataType.isDate(type)) return (type as Date_).unit === DateUnit.DAY ? 'days' : 'milliseconds';
  return undefined;
}
