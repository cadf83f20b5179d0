import { TextDecoder } from 'node:util';
import { Faults } from './faults.js';
import type { ItemSource, SourceRow } from './item-source.js';
import { type Line, readLines } from './read-lines.js';
import { findRepeatedName } from './repeated-name.js';
import type { RowShape } from './table-columns.js';
import { unpackedBytes } from './unpacked.js';

/** One JSON value a line; blank lines are skipped. */
export const readNdjson: ItemSource = async function* (file, options) {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for await (const lines of readLines(unpackedBytes(file, options))) {
    yield lines.flatMap((line) => rowOf(line, decoder, options.shape));
  }
};

function rowOf({ number: line, bytes }: Line, decoder: TextDecoder, { jsonLine }: RowShape): SourceRow[] {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return [{ line, faults: Faults.of({ expected: 'UTF-8 text', found: 'bytes that are not UTF-8' }) }];
  }
  if (text.trim() === '') return [];
  let item: unknown;
  try {
    item = JSON.parse(text);
  } catch (thrown) {
    return [{ line, faults: Faults.of({ expected: jsonLine, found: (thrown as Error).message }) }];
  }
  const repeated = findRepeatedName(text);
  if (repeated !== undefined) {
    const fault = { field: repeated, expected: 'each name once', found: `${repeated} twice` };
    return [{ line, faults: Faults.of(fault) }];
  }
  return [{ line, item }];
}
