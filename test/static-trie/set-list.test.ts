import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Field, List, Table, tableToIPC, Uint16, Utf8, type Vector, vectorFromArray } from 'apache-arrow';
import fc from 'fast-check';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { isBitSet } from '../../src/kernels/index.js';
import {
  type CatalogVersion,
  type ItemFile,
  type ItemFormat,
  isListed,
  type ListKind,
  readItems,
  readSetList,
  type SetList,
  selectListed,
  sidOf,
} from '../../src/static-trie/index.js';
import { idsOf } from '../helpers/catalog-content.js';
import { listTruth } from '../helpers/list-truth.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-set-list-'));
const out = join(folder, 'list');
const CODEBOOKS = [4, 300];

function file(name: string, content: string | Uint8Array, format: ItemFormat = 'ndjson'): ItemFile {
  const path = join(folder, name);
  writeFileSync(path, content);
  return { path, format, isGzip: name.endsWith('.gz'), name };
}

const readList = (...files: ItemFile[]): Promise<SetList> =>
  readSetList(files, out, { codebookSizes: CODEBOOKS });
const read = (content: string) => readList(file('list.ndjson', content));
const written = () => readFileSync(out, 'utf8');

const ids = ['b', 'a, "quoted"\n', 'ü\u{1f381}', '17'];
const sids = [
  [3, 299],
  [0, 0],
];
const csvOf = (name: string, fields: string[]) =>
  [name, ...fields.map((field) => `"${field.replaceAll('"', '""')}"`)].join('\r\n');
const arrowOf = (column: Record<string, Vector>) => tableToIPC(new Table(column), 'file');

function parquetOfSids(): Uint8Array {
  const schema = [
    { name: 'root', num_children: 1 },
    { name: 'sid', repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'OPTIONAL', type: 'INT32' },
  ];
  const options = { schema, columnData: [{ name: 'sid', data: sids }] };
  return new Uint8Array(parquetWriteBuffer(options as Parameters<typeof parquetWriteBuffer>[0]));
}

describe('a list of ids or SIDs', () => {
  const idLines = ids.map((id) => `${JSON.stringify(id)}\n`).join('');
  const sidLines = '[3,299]\n[0,0]\n';
  it.each<[string, 'items' | 'sids', ItemFile]>([
    ['NDJSON of ids', 'items', file('1.ndjson', `\n${idLines}"b"\n`)],
    ['NDJSON of objects', 'items', file('2.ndjson', ids.map((id) => JSON.stringify({ id })).join('\n'))],
    ['packed NDJSON of SIDs', 'sids', file('3.gz', gzipSync('[3, 299]\n{"sid":[0,0]}\n[3,299]\n'))],
    ['CSV of ids', 'items', file('4.csv', csvOf('id', ids), 'csv')],
    ['CSV of SIDs', 'sids', file('5.csv', csvOf('sid', ['3-299', '0-0']), 'csv')],
    ['Arrow of ids', 'items', file('6.arrow', arrowOf({ id: vectorFromArray(ids, new Utf8()) }), 'arrow')],
    [
      'Arrow of SIDs',
      'sids',
      file(
        '7.arrow',
        arrowOf({ sid: vectorFromArray(sids, new List(new Field('item', new Uint16(), true))) }),
        'arrow',
      ),
    ],
    ['Parquet of SIDs', 'sids', file('8.parquet', parquetOfSids(), 'parquet')],
  ])('is read as %s, in its order, each once', async (_, kind, upload) => {
    const text = kind === 'items' ? idLines : sidLines;
    const hash = createHash('sha256').update(text).digest('hex');
    expect(await readList(upload)).toEqual({ kind, count: kind === 'items' ? 4 : 2, hash });
    expect(written()).toBe(text);
  });

  it.each([
    ['7', undefined, 'an id or a SID', '7'],
    ['null', undefined, 'an id or a SID', 'null'],
    ['oops', undefined, 'an id or a SID', expect.any(String)],
    ['""', 'id', 'a string of 1 to 256 characters', '""'],
    ['{"id":null}', 'id', 'a string of 1 to 256 characters', 'null'],
    ['{"id":"a","sid":[1,2]}', undefined, 'one field, either id or sid', 'id, sid'],
    ['{"ID":"a"}', undefined, 'one field, either id or sid', 'ID'],
    ['{}', undefined, 'one field, either id or sid', 'none'],
    ['[1,300]', 'sid[1]', 'an integer from 0 to 299', '300'],
    ['[1]', 'sid', 'a list of 2 codes', '1 codes'],
    ['[1,2]', undefined, 'an id, as on line 1', '[1,2]'],
  ])('refuses %s', async (line, field, expected, found) => {
    await expect(read(`"good"\n${line}\n`)).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [{ line: 2, ...(field !== undefined && { field }), expected, found }],
    });
  });

  it('refuses an id among SIDs, also of another file, and the first 100 bad lines only', async () => {
    const first = file('sids.ndjson', '[0,0]\n\n[0,1]\n');
    await expect(readList(first, file('ids.csv', 'id\na', 'csv'))).rejects.toMatchObject({
      details: [{ file: 'ids.csv', line: 2, expected: 'a SID, as on line 1 of sids.ndjson', found: '"a"' }],
    });
    const bad = await read('7\n'.repeat(250)).catch((error: unknown) => error);
    expect(bad).toMatchObject({ message: expect.stringMatching(/^at least 100 bad lines/) });
    expect((bad as { details: unknown[] }).details).toHaveLength(100);
  });

  it.each(['id,sid', 'item', 'id,id', 'sid,price'])('refuses a table of the columns %s', async (header) => {
    await expect(readList(file('table.csv', `${header}\n`, 'csv'))).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: expect.arrayContaining([expect.objectContaining({ line: 1 })]),
    });
  });

  it('is refused where it is empty or cancelled, and then writes nothing', async () => {
    const other = join(folder, 'never');
    const options = { codebookSizes: CODEBOOKS };
    const empty = file('empty.csv', 'id\n', 'csv');
    await expect(readSetList([empty], other, options)).rejects.toMatchObject({ code: 'ESP_UPLOAD_EMPTY' });
    const cancelled = { ...options, signal: AbortSignal.abort() };
    const good = file('good.ndjson', '"a"\n');
    await expect(readSetList([good], other, cancelled)).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
    expect(existsSync(other)).toBe(false);
  });
});

/** A few items, some of which share SIDs. */
async function catalog(random: Random): Promise<CatalogVersion> {
  const lines = Array.from({ length: 1 + random.below(40) }, (_, index) =>
    JSON.stringify({ id: `é${index}`, sid: [random.below(3), random.below(3)] }),
  );
  return readItems(file('items.ndjson', lines.join('\n')), {}, CODEBOOKS);
}

describe('the items that a list names', () => {
  it('are those of its ids, or of its SIDs; what the version lacks is counted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const random = new Random(seed);
        const version = await catalog(random);
        const known = idsOf(version);
        const pick: Record<ListKind, () => string | number[]> = {
          items: () => `é${random.below(45)}`,
          sids: () => [random.below(4), random.below(4)],
        };
        const kind = random.pick<ListKind>(['items', 'sids']);
        const entries = Array.from({ length: 1 + random.below(60) }, pick[kind]);
        const list = await read(entries.map((entry) => JSON.stringify(entry)).join('\n'));
        const keys = new Set(entries.map((entry) => JSON.stringify(entry)));
        const keyOf = (item: number) =>
          JSON.stringify(kind === 'items' ? known[item] : Array.from(sidOf(version, item)));
        const truth = { path: out, hash: list.hash };
        const { bits, unknownCount, unknown } = selectListed(truth, version);
        const found = known.map((_, item) => isBitSet(bits, item));
        expect(found).toEqual(known.map((_, item) => keys.has(keyOf(item))));
        const one = random.below(known.length);
        expect(isListed(truth, version, one)).toBe(found[one]);
        const lacking = [...keys].filter((key) => !known.some((_, item) => keyOf(item) === key));
        expect([list.kind, list.count, unknownCount]).toEqual([kind, keys.size, lacking.length]);
        expect(unknown).toEqual(lacking.slice(0, 10));
      }),
      seeded('lists against their items', 300),
    );
  });

  it('are found in a list of many pieces, at whose bounds characters and lines are cut', async () => {
    const version = await readItems(file('one.ndjson', '{"id":"é399999","sid":[0,0]}'), {}, CODEBOOKS);
    const list = listTruth(Array.from({ length: 400_000 }, (_, index) => `é${index}`));
    const { bits, unknownCount, unknown } = selectListed(list, version);
    expect([isBitSet(bits, 0), unknownCount, unknown.at(-1)]).toEqual([true, 399_999, '"é9"']);
  });

  it('are found one by one, also where a piece ends within the line', async () => {
    const entries = Array.from({ length: 200_000 }, (_, index) => `é${index}`);
    const list = listTruth(entries);
    const pieceBytes = 2 ** 20;
    const atBound = readFileSync(list.path).subarray(0, pieceBytes).toString().split('\n').length - 1;
    const listed = [...entries.slice(atBound - 1, atBound + 2), entries[0], entries.at(-1)!];
    const others = ['é', 'é200000', '9', `${listed[0]}0`];
    const lines = [...listed, ...others].map((id) => JSON.stringify({ id, sid: [0, 0] }));
    const version = await readItems(file('some.ndjson', lines.join('\n')), {}, CODEBOOKS);
    const found = idsOf(version).filter((_, item) => isListed(list, version, item));
    expect(found.sort()).toEqual(listed.sort());
  });

  it('are none where the file is not what was written, or is gone', async () => {
    const version = await readItems(file('one.ndjson', '{"id":"a","sid":[0,0]}'), {}, CODEBOOKS);
    const list = listTruth(['a', 'b']);
    expect(selectListed(list, version).unknownCount).toBe(1);
    writeFileSync(list.path, '"a"\n');
    const gone = { ...list, path: join(folder, 'gone') };
    for (const look of [selectListed, isListed]) {
      expect(() => look(list, version, 0)).toThrow(/SHA-256 must be/);
      expect(() => look(gone, version, 0)).toThrow(/cannot be opened/);
    }
  });
});
