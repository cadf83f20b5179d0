import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  type ParquetParsers,
  parquetMetadataAsync,
  parquetReadObjects,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { EspalierError } from '../../errors.js';
import { exactTime } from './exact-time.js';
import type { ItemSource } from './item-source.js';
import { plainRow } from './plain-value.js';
import { checkTableColumns } from './table-columns.js';
import { withUnpackedFile } from './unpacked.js';
import { unreadable } from './unreadable.js';

/**
 * Rows that are objects at the same time: few, but at least so much of a row group, which is decoded from its beginning
 * each time.
 */
const ROWS_AT_A_TIME = 65_536;
const PART_OF_GROUP = 1 / 8;

/** The library's own would cut what is finer than a millisecond, and make of other times dates that are none. */
const parsers: Partial<ParquetParsers> = {
  timestampFromMilliseconds: (count) => exactTime(count, 'milliseconds'),
  timestampFromMicroseconds: (count) => exactTime(count, 'microseconds'),
  timestampFromNanoseconds: (count) => exactTime(count, 'nanoseconds'),
  dateFromDays: (count) => exactTime(BigInt(count), 'days'),
};

/** Parquet: SIDs and lists are list columns. */
export const readParquet: ItemSource = (file, options) =>
  withUnpackedFile(file, options, async function* (path) {
    const { shape, onProgress } = options;
    const { buffer, metadata } = await open(path);
    // The first element is the root; its children are the columns, however deep these are.
    const columns = childNames(metadata);
    checkTableColumns(columns, shape);
    const rowCount = Number(metadata.num_rows);
    let line = 0;
    for (const [from, to] of rowRanges(metadata)) {
      const rows = await rowsOf(buffer, metadata, from, to);
      yield rows.map((row) => plainRow(++line, Object.entries(row)));
      onProgress('parsing', to / rowCount);
    }
  });

function* rowRanges({ row_groups }: FileMetaData): Generator<[from: number, to: number]> {
  let start = 0;
  for (const { num_rows } of row_groups) {
    const end = start + Number(num_rows);
    const count = Math.max(ROWS_AT_A_TIME, Math.ceil((end - start) * PART_OF_GROUP));
    for (let from = start; from < end; from += count) yield [from, Math.min(end, from + count)];
    start = end;
  }
}

async function open(path: string): Promise<{ buffer: AsyncBuffer; metadata: FileMetaData }> {
  try {
    const buffer = await asyncBufferFromFile(path);
    return { buffer, metadata: await parquetMetadataAsync(buffer) };
  } catch (thrown) {
    throw unreadable('Parquet', thrown);
  }
}

async function rowsOf(file: AsyncBuffer, metadata: FileMetaData, rowStart: number, rowEnd: number) {
  try {
    return await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors, parsers });
  } catch (thrown) {
    if (thrown instanceof EspalierError) throw thrown;
    throw unreadable('Parquet', thrown);
  }
}

function childNames({ schema: [root, ...elements] }: FileMetaData): string[] {
  const names: string[] = [];
  let at = 0;
  const skip = (): void => {
    const { num_children = 0 } = elements[at++];
    for (let child = 0; child < num_children; child++) skip();
  };
  for (let child = 0; child < (root.num_children ?? 0); child++) {
    names.push(elements[at].name);
    skip();
  }
  return names;
}
