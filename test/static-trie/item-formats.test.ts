import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import {
  Vector as ArrowVector,
  Bool,
  type DataType,
  DateDay,
  DateMillisecond,
  Dictionary,
  Field,
  Float64,
  Int32,
  Int64,
  List,
  makeData,
  Table,
  Timestamp,
  TimestampMillisecond,
  TimestampSecond,
  TimeUnit,
  tableToIPC,
  Uint16,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import type { EspalierError } from '../../src/errors.js';
import { type CatalogVersion, type ItemFormat, readItems, valueAt } from '../../src/static-trie/index.js';
import { contentOf, idsOf } from '../helpers/catalog-content.js';
import { everyType } from '../helpers/every-type.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-item-formats-'));
const CODEBOOKS = [4, 300];

interface Item {
  id: string;
  sid: number[];
  gift: boolean | null;
  stock: number | null;
  price: number | null;
  title: string | null;
  since: string | null;
  tags: string[] | null;
}

/** Items with every type, values that text formats must quote, and nulls in each column. */
const items: Item[] = Array.from({ length: 300 }, (_, index) => {
  const orNull = <T>(column: number, value: T) => ((index + column) % 7 === 0 ? null : value);
  return {
    id: `item ${index}, "quoted"`,
    sid: [index % 4, index],
    gift: orNull(0, index % 2 === 0),
    stock: orNull(1, index * 1_000_003 - 5),
    price: orNull(2, index / 8 - 3),
    title: orNull(3, `Löffel\n${index} \u{1f381}`),
    since: orNull(4, new Date(Date.UTC(2020, 0, 1) + index * 86_400_123).toISOString()),
    tags: orNull(5, index % 3 === 0 ? [`t${index}`] : ['a', 'b c', 'é']),
  };
});
const column = <Name extends keyof Item>(name: Name) => items.map((item) => item[name]);

function read(
  content: string | Uint8Array,
  format: ItemFormat,
  { isGzip = false, maxBytes = 1e9 } = {},
): Promise<CatalogVersion> {
  const path = join(folder, 'items');
  writeFileSync(path, content);
  return readItems({ path, format, isGzip }, everyType, CODEBOOKS, { maxBytes });
}

const ndjson = items.map((item) => JSON.stringify(item)).join('\n');

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
const csv = [
  'id,sid,gift,stock,price,title,since,tags',
  ...items.map(({ id, sid, gift, stock, price, title, since, tags }) =>
    [
      quoted(id),
      sid.join('-'),
      gift ?? '',
      stock ?? '',
      price ?? '',
      title === null ? '' : quoted(title),
      since ?? '',
      tags === null ? '' : quoted(tags.join('|')),
    ].join(','),
  ),
].join('\r\n');

function parquet(codec: 'UNCOMPRESSED' | 'SNAPPY' | 'GZIP' | 'BROTLI' = 'SNAPPY'): Uint8Array {
  const list = (name: string, element: object) => [
    { name, repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'OPTIONAL', ...element },
  ];
  const optional = (name: string, element: object) => ({ name, repetition_type: 'OPTIONAL', ...element });
  const utf8 = { type: 'BYTE_ARRAY', converted_type: 'UTF8' };
  const schema = [
    { name: 'root', num_children: 8 },
    optional('id', utf8),
    ...list('sid', { type: 'INT32' }),
    optional('gift', { type: 'BOOLEAN' }),
    optional('stock', { type: 'INT64' }),
    optional('price', { type: 'DOUBLE' }),
    optional('title', utf8),
    optional('since', { type: 'INT64', converted_type: 'TIMESTAMP_MILLIS' }),
    ...list('tags', utf8),
  ];
  const columnData = [
    { name: 'id', data: column('id') },
    { name: 'sid', data: column('sid') },
    { name: 'gift', data: column('gift') },
    { name: 'stock', data: column('stock').map((stock) => (stock === null ? null : BigInt(stock))) },
    { name: 'price', data: column('price') },
    { name: 'title', data: column('title') },
    { name: 'since', data: column('since').map((since) => (since === null ? null : new Date(since))) },
    { name: 'tags', data: column('tags') },
  ];
  // Several row groups, so that reading some rows crosses their bounds.
  const compressors = {
    GZIP: (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes)),
    BROTLI: (bytes: Uint8Array) => new Uint8Array(brotliCompressSync(bytes)),
  };
  const options = { schema, columnData, codec, compressors, rowGroupSize: 70 } as Parameters<
    typeof parquetWriteBuffer
  >[0];
  return new Uint8Array(parquetWriteBuffer(options));
}

function arrow(format: 'file' | 'stream'): Uint8Array {
  const list = <T extends Utf8 | Uint16>(type: T) => new List(new Field('item', type, true));
  const stocks = column('stock').map((stock) => (stock === null ? null : BigInt(stock)));
  const times = column('since').map((since) => (since === null ? null : Date.parse(since)));
  const table = new Table({
    id: vectorFromArray(column('id'), new Dictionary(new Utf8(), new Int32())),
    sid: vectorFromArray(column('sid'), list(new Uint16())),
    gift: vectorFromArray(column('gift'), new Bool()),
    stock: vectorFromArray(stocks, new Int64()),
    price: vectorFromArray(column('price'), new Float64()),
    title: vectorFromArray(column('title'), new Utf8()),
    since: vectorFromArray(times, new TimestampMillisecond()),
    tags: vectorFromArray(column('tags'), list(new Utf8())),
  });
  return tableToIPC(table, format);
}

describe('formats of items', async () => {
  const expected = contentOf(await read(ndjson, 'ndjson'));

  it.each<[string, string | Uint8Array, ItemFormat]>([
    ['NDJSON', ndjson, 'ndjson'],
    ['CSV', csv, 'csv'],
    ['CSV with a byte order mark', `\ufeff${csv}`, 'csv'],
    ['Parquet', parquet('UNCOMPRESSED'), 'parquet'],
    ['Parquet with Snappy', parquet(), 'parquet'],
    ['Parquet with gzip', parquet('GZIP'), 'parquet'],
    ['Parquet with Brotli', parquet('BROTLI'), 'parquet'],
    ['an Arrow file', arrow('file'), 'arrow'],
    ['an Arrow stream', arrow('stream'), 'arrow'],
  ])('%s holds the same items as NDJSON, packed or not', async (_, content, format) => {
    expect(contentOf(await read(content, format))).toEqual(expected);
    expect(contentOf(await read(gzipSync(content), format, { isGzip: true }))).toEqual(expected);
    // What was unpacked is gone.
    expect(readdirSync(folder)).toEqual(['items']);
  });

  it.each<[string, string | Uint8Array, ItemFormat]>([
    ['NDJSON', ndjson, 'ndjson'],
    ['CSV', csv, 'csv'],
    ['Parquet', parquet(), 'parquet'],
    ['an Arrow file', arrow('file'), 'arrow'],
    ['an Arrow stream', arrow('stream'), 'arrow'],
  ])('%s that unpacks to too much, or is no whole gzip, is refused', async (_, content, format) => {
    const packed = gzipSync(content);
    await expect(read(packed, format, { isGzip: true, maxBytes: 1_000 })).rejects.toMatchObject({
      code: 'ESP_BODY_TOO_LARGE',
      message: 'the upload unpacks to more than 1000 bytes',
    });
    const gap = Buffer.concat([packed, Buffer.alloc(1), packed]);
    for (const bytes of [packed.subarray(0, packed.length / 2), content, gap]) {
      await expect(read(bytes, format, { isGzip: true })).rejects.toMatchObject({
        code: 'ESP_UPLOAD_INVALID',
        details: [{ expected: 'gzip' }],
      });
    }
    expect(readdirSync(folder)).toEqual(['items']);
  });

  it('a gzip bomb ends when it is too large, not when it has unpacked', async () => {
    // Whoever unpacks it to its end finds that the end is missing.
    const bomb = gzipSync(Buffer.alloc(4 << 20, '\n')).subarray(0, -8);
    await expect(read(bomb, 'ndjson', { isGzip: true, maxBytes: 1 << 20 })).rejects.toMatchObject({
      code: 'ESP_BODY_TOO_LARGE',
    });
    await expect(read(bomb, 'ndjson', { isGzip: true, maxBytes: 5 << 20 })).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
    });
  });

  it.each([
    ['a field too few', 'id,sid,gift\na,1-2\n', 2, undefined, '3 fields', '2 fields'],
    ['no SID', 'id,sid\na,1-x\n', 2, 'sid', 'a list of 2 codes', '"1-x"'],
    ['a code too large', 'id,sid\na,1-300\n', 2, 'sid[1]', 'an integer from 0 to 299', '300'],
    ['no bool', 'id,sid,gift\na,1-2,yes\n', 2, 'gift', 'true or false (bool)', '"yes"'],
    ['no number', 'id,sid,price\na,1-2,0x10\n', 2, 'price', 'a number (double)', '"0x10"'],
    ['no id', 'id,sid\n"line\none",1-2\n,1-2\n', 4, 'id', 'a string of 1 to 256 characters', '""'],
    ['an open quote', 'id,sid\nb,1-2\n"a,1-2\n', 3, undefined, 'CSV as RFC 4180 has it', expect.any(String)],
    ['an unknown column', 'id,sid,colour\na,1-2,red\n', 1, 'colour', expect.any(String), 'colour'],
    ['a column twice', 'id,sid,gift,gift\n', 1, 'gift', 'each column once', 'gift twice'],
    ['no column sid', 'id,gift\n', 1, 'sid', 'a column sid', 'id, gift'],
  ])('CSV with %s is refused', async (_, text, line, field, expectation, found) => {
    await expect(read(text, 'csv')).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [{ line, ...(field !== undefined && { field }), expected: expectation, found }],
    });
  });

  it("tells a hundred of a table's columns, in short texts", async () => {
    const names = Array.from({ length: 3_000 }, (_, column) => `colour${column}`);
    const failure = read(`id,${names.join(',')},gift,gift\n`, 'csv').catch((error: unknown) => error);
    const { message, details } = (await failure) as EspalierError;
    expect(message).toMatch(/^column gift: expected each column once.*; 2902 more faults not listed$/);
    expect(details!.map(({ field }) => field)).toEqual(['gift', 'sid', ...names.slice(0, 98)]);
    expect(details![1].found).toHaveLength(200);
  });

  it('CSV has its lines ended in any way, also in several ways in one file', async () => {
    const lines = ['id,sid,title', 'a,1-2,plain', '"b\r\nc\rd",1-3,"e\nf\r\ng\r"', 'h,1-4,last'];
    const titles = ['plain', 'e\nf\r\ng\r', 'last'];
    const [lf, crlf, cr] = ['\n', '\r\n', '\r'];
    for (const ends of [
      [lf, lf, lf, lf],
      [crlf, crlf, crlf, crlf],
      [cr, cr, cr, cr],
      [lf, crlf, crlf, crlf],
      [crlf, lf, lf, ''],
      [cr, lf, crlf, cr],
    ]) {
      const version = await read(lines.map((line, index) => `${line}${ends[index]}`).join(''), 'csv');
      expect(idsOf(version)).toEqual(['a', 'b\r\nc\rd', 'h']);
      const column = version.table.columns.get('title')!;
      expect(titles.map((_, item) => valueAt(column, item))).toEqual(titles);
    }
  });

  it('CSV with an end of line at any place of a piece of the file is read', async () => {
    // Files come in pieces of 256 KiB, and an end of line may lie across two of them.
    for (const shift of [27, 28, 29]) {
      const rows = Array.from({ length: 9_000 }, (_, row) => `${`${row}`.padStart(24, '0')},1-2`);
      const content = `id,sid\n${'\n'.repeat(shift)}${rows.join('\r\n')}\r\n`;
      expect((await read(content, 'csv')).leafItems.itemCount).toBe(9_000);
    }
  });

  it('CSV that is not UTF-8 is refused', async () => {
    await expect(read(Buffer.from('id,sid\n\xff,1-2\n', 'latin1'), 'csv')).rejects.toMatchObject({
      details: [{ expected: 'UTF-8 text' }],
    });
  });

  it.each<[string, Uint8Array, object]>([
    ['another column', write({ colour: vectorFromArray(['red']) }), { field: 'colour' }],
    [
      'another type',
      write({ price: vectorFromArray(['2.5'], new Utf8()) }),
      { line: 1, field: 'price', expected: 'a number (double)', found: '"2.5"' },
    ],
    [
      'integers that no double holds',
      write({ stock: vectorFromArray([2n ** 53n + 1n], new Int64()) }),
      { line: 1, field: 'stock', found: '"9007199254740993"' },
    ],
  ])('Arrow with %s is refused', async (_, content, detail) => {
    await expect(read(content, 'arrow')).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [expect.objectContaining(detail)],
    });
  });

  it.each<[string, Parameters<typeof parquetOf>[0], object]>([
    [
      'text for numbers',
      { name: 'price', type: 'BYTE_ARRAY', converted_type: 'UTF8', value: '2.5' },
      { line: 1, field: 'price', expected: 'a number (double)', found: '"2.5"' },
    ],
    [
      'numbers for texts',
      { name: 'title', type: 'DOUBLE', value: 2.5 },
      { line: 1, field: 'title', expected: 'a string of at most 32768 characters', found: '2.5' },
    ],
    [
      'integers that no double holds',
      { name: 'stock', type: 'INT64', value: 2n ** 53n + 1n },
      { line: 1, field: 'stock', found: '"9007199254740993"' },
    ],
  ])('Parquet with %s is refused', async (_, wrong, detail) => {
    await expect(read(parquetOf(wrong), 'parquet')).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [expect.objectContaining(detail)],
    });
  });

  const exact = 1_323_435_000_123n;
  const far = 2n ** 63n - 1n;
  it.each([
    ['MILLIS', 'millisecond', 1n],
    ['MICROS', 'microsecond', 1_000n],
    ['NANOS', 'nanosecond', 1_000_000n],
  ] as const)('a time in %s is exact, or a fault of its row', async (unit, name, parts) => {
    const good = exact * parts;
    for (const [format, content] of [
      ['parquet', parquetOfTimes(unit, [good])],
      ['arrow', arrowOfTimes(unit, [good])],
    ] as const) {
      const version = await read(content, format);
      expect(valueAt(version.table.columns.get('since')!, 0)).toBe(Number(exact));
    }
    // Years beyond what rules know count as times that no timestamp holds, too.
    const bad = [far, -far - 1n, 253_402_300_800_000n * parts, ...(parts > 1n ? [good + 1n, -1n] : [])];
    for (const time of unit === 'NANOS' ? bad.filter((count) => count < 2n ** 63n) : bad) {
      for (const [format, content] of [
        ['parquet', parquetOfTimes(unit, [good, time])],
        ['arrow', arrowOfTimes(unit, [good, time])],
      ] as const) {
        await expect(read(content, format), `${format} ${time}`).rejects.toMatchObject({
          code: 'ESP_UPLOAD_INVALID',
          details: [
            {
              line: 2,
              field: 'since',
              expected: 'a time of the years 1 to 9999, to the millisecond at most',
              found: `${time} ${name}s since 1970`,
            },
          ],
        });
      }
    }
  });

  it('dates and seconds are exact, or faults of their rows', async () => {
    const date = (days: number[]) => vectorOf(new DateDay(), Int32Array.from(days));
    const milliseconds = (counts: bigint[]) => vectorOf(new DateMillisecond(), BigInt64Array.from(counts));
    for (const content of [
      arrowOfVector(date([15_317])),
      arrowOfVector(milliseconds([1_323_388_800_000n])),
      arrowOfVector(vectorOf(new TimestampSecond(), BigInt64Array.of(1_323_388_800n))),
    ]) {
      const version = await read(content, 'arrow');
      expect(valueAt(version.table.columns.get('since')!, 0)).toBe(Date.UTC(2011, 11, 9));
    }
    const most = 2 ** 31 - 1;
    const parquetDate = parquetOfTimes('DATE', [15_317, most]);
    const faults = [
      [await faultOf(parquetDate, 'parquet'), `${most} days since 1970`],
      [await faultOf(arrowOfVector(date([15_317, most])), 'arrow'), `${most} days since 1970`],
      [await faultOf(arrowOfVector(milliseconds([0n, far])), 'arrow'), `${far} milliseconds since 1970`],
    ];
    for (const [fault, found] of faults) expect(fault).toMatchObject({ line: 2, field: 'since', found });
  });

  it('a bad row is named by its number, across row groups and batches', async () => {
    const good = structuredClone(items[200].sid);
    items[200].sid = [9, 9];
    const arrowOf = (from: number, to: number) =>
      new Table({
        id: vectorFromArray(column('id').slice(from, to), new Utf8()),
        sid: vectorFromArray(column('sid').slice(from, to), new List(new Field('item', new Uint16(), true))),
      });
    const uploads: [Uint8Array, ItemFormat][] = [
      [parquet(), 'parquet'],
      [tableToIPC(arrowOf(0, 130).concat(arrowOf(130, 300)), 'stream'), 'arrow'],
    ];
    items[200].sid = good;
    for (const [content, format] of uploads) {
      await expect(read(content, format)).rejects.toMatchObject({
        details: [{ line: 201, field: 'sid[0]', expected: 'an integer from 0 to 3', found: '9' }],
      });
    }
  });

  it.each<[ItemFormat, string]>([
    ['parquet', 'Parquet'],
    ['arrow', 'Arrow IPC'],
  ])('%s that is none, or damaged, is refused', async (format, name) => {
    const whole = format === 'parquet' ? parquet() : arrow('file');
    for (const bytes of [Buffer.from(ndjson), whole.subarray(0, whole.length / 2)]) {
      const failure = await read(bytes, format).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'ESP_UPLOAD_INVALID', details: [{ expected: name }] });
      expect((failure as Error).message).not.toContain(folder);
    }
  });

  it('Parquet without a SID is refused by name', async () => {
    const data = [{ name: 'id', data: ['a'], type: 'STRING' as const }];
    await expect(
      read(new Uint8Array(parquetWriteBuffer({ columnData: data })), 'parquet'),
    ).rejects.toMatchObject({
      details: [{ field: 'sid', expected: 'a column sid', found: 'id' }],
    });
  });
});

async function faultOf(content: Uint8Array, format: ItemFormat): Promise<unknown> {
  const failure = await read(content, format).catch((error: unknown) => error);
  return (failure as EspalierError).details?.[0];
}

/** One item with one attribute. */
function parquetOf({
  name,
  value,
  ...element
}: {
  name: string;
  value: unknown;
  type: string;
  converted_type?: string;
}) {
  const schema = [
    { name: 'root', num_children: 3 },
    { name: 'id', repetition_type: 'REQUIRED', type: 'BYTE_ARRAY', converted_type: 'UTF8' },
    { name: 'sid', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'REQUIRED', type: 'INT32' },
    { name, repetition_type: 'REQUIRED', ...element },
  ];
  const columnData = [
    { name: 'id', data: ['0'] },
    { name: 'sid', data: [[1, 2]] },
    { name, data: [value] },
  ];
  const options = { schema, columnData } as Parameters<typeof parquetWriteBuffer>[0];
  return new Uint8Array(parquetWriteBuffer(options));
}

/** Items that have nothing but times, as they are counted. */
function parquetOfTimes(
  unit: 'MILLIS' | 'MICROS' | 'NANOS' | 'DATE',
  since: readonly (bigint | number)[],
): Uint8Array {
  const logical = { logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit } };
  const time = unit === 'DATE' ? { type: 'INT32', converted_type: 'DATE' } : { type: 'INT64', ...logical };
  const schema = [
    { name: 'root', num_children: 3 },
    { name: 'id', repetition_type: 'REQUIRED', type: 'BYTE_ARRAY', converted_type: 'UTF8' },
    { name: 'sid', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'REQUIRED', type: 'INT32' },
    { name: 'since', repetition_type: 'REQUIRED', ...time },
  ];
  const columnData = [
    { name: 'id', data: since.map((_, index) => `${index}`) },
    { name: 'sid', data: since.map(() => [1, 2]) },
    { name: 'since', data: [...since] },
  ];
  const options = { schema, columnData } as Parameters<typeof parquetWriteBuffer>[0];
  return new Uint8Array(parquetWriteBuffer(options));
}

function arrowOfTimes(unit: 'MILLIS' | 'MICROS' | 'NANOS', since: readonly bigint[]): Uint8Array {
  const units = { MILLIS: TimeUnit.MILLISECOND, MICROS: TimeUnit.MICROSECOND, NANOS: TimeUnit.NANOSECOND };
  return arrowOfVector(vectorOf(new Timestamp(units[unit], 'UTC'), BigInt64Array.from(since)));
}

function vectorOf(type: DataType, data: Int32Array | BigInt64Array): Vector {
  return new ArrowVector([makeData({ type, length: data.length, nullCount: 0, data } as never)]);
}

function arrowOfVector(since: Vector): Uint8Array {
  const indices = Array.from({ length: since.length }, (_, index) => index);
  const ids = vectorFromArray(
    indices.map((index) => `${index}`),
    new Utf8(),
  );
  const sids = vectorFromArray(
    indices.map(() => [1, 2]),
    new List(new Field('item', new Uint16(), true)),
  );
  return tableToIPC(new Table({ id: ids, sid: sids, since }), 'stream');
}

/** One item with one more column. */
function write(more: Record<string, Vector>): Uint8Array {
  const sidType = new List(new Field('item', new Uint16(), true));
  const columns: Record<string, Vector> = {
    id: vectorFromArray(['a'], new Utf8()),
    sid: vectorFromArray([[1, 2]], sidType),
    ...more,
  };
  return tableToIPC(new Table(columns), 'file');
}
