import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TextDecoder } from 'node:util';
import { type CsvError, parse } from 'csv-parse';
import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { AttributeType } from '../columns.js';
import { Faults } from './faults.js';
import type { ItemSource, SourceRow } from './item-source.js';
import { checkTableColumns, type RowShape } from './table-columns.js';
import { unpackedBytes } from './unpacked.js';

const MAX_RECORD_CHARACTERS = 1 << 20;
const ROWS_AT_A_TIME = 1_024;

/** A record with the line on which it ends. */
interface CsvRecord {
  record: string[];
  info: { lines: number };
}

/**
 * RFC 4180 with a header of column names. A SID is written `17-203-9`, a list `a|b`, truth `true` or `false`; an empty
 * field is missing.
 */
export const readCsv: ItemSource = async function* (file, options) {
  const { shape } = options;
  const parser = parse({
    bom: true,
    info: true,
    relax_column_count: true,
    max_record_size: MAX_RECORD_CHARACTERS,
    // Left to guess, the parser takes the first line's end for all of them. The longest comes first.
    record_delimiter: ['\r\n', '\n', '\r'],
  });
  // Whoever reads the parser sees what fails before it; the pipeline's promise repeats that.
  pipeline(Readable.from(decoded(unpackedBytes(file, options))), parser).catch(() => {});
  const source = parser.iterator() as AsyncIterableIterator<CsvRecord>;
  let names: string[] | undefined;
  let rows: SourceRow[] = [];
  try {
    for await (const { record, info } of source) {
      if (names === undefined) {
        checkTableColumns(record, shape, 1);
        names = record;
        continue;
      }
      if (record.length === 1 && record[0] === '') continue;
      rows.push(rowOf(record, names, shape, info.lines));
      if (rows.length < ROWS_AT_A_TIME) continue;
      yield rows;
      rows = [];
    }
  } catch (thrown) {
    if ((thrown as CsvError).code?.startsWith('CSV_') !== true) throw thrown;
    // What follows a broken record can't be told apart.
    rows.push({
      line: (thrown as CsvError).lines as number,
      faults: Faults.of(syntaxFault(thrown as CsvError)),
    });
  }
  yield rows;
};

function rowOf(record: string[], names: string[], shape: RowShape, line: number): SourceRow {
  if (record.length !== names.length) {
    const fault = { expected: `${names.length} fields`, found: `${record.length} fields` };
    return { line, faults: Faults.of(fault) };
  }
  const item: Record<string, unknown> = {};
  names.forEach((name, index) => {
    const text = record[index];
    if (name === 'id') item.id = text;
    else if (name === 'sid') item.sid = sidOf(text);
    else if (text !== '') item[name] = typedValue(text, shape.typeOf(name));
  });
  return { line, item };
}

/** What is no SID stays text, so that the fault shows it. */
function sidOf(text: string): unknown {
  return /^\d+(-\d+)*$/.test(text) ? text.split('-').map(Number) : text;
}

/** Likewise. */
function typedValue(text: string, type: AttributeType): unknown {
  switch (type) {
    case 'bool':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'int64':
    case 'double':
      return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : text;
    case 'string[]':
      return text.split('|');
    default:
      return text;
  }
}

function syntaxFault({ code, message }: CsvError): ErrorDetail {
  if (code === 'CSV_MAX_RECORD_SIZE') {
    return { expected: `a record of at most ${MAX_RECORD_CHARACTERS} characters`, found: 'more' };
  }
  return { expected: 'CSV as RFC 4180 has it', found: message };
}

async function* decoded(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  try {
    for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw thrown;
    throw new EspalierError('ESP_UPLOAD_INVALID', 'the upload is not UTF-8 text', {
      details: [{ expected: 'UTF-8 text', found: 'bytes that are not UTF-8' }],
    });
  }
}
