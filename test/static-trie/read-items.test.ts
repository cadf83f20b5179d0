import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EspalierError } from '../../src/errors.js';
import { type CatalogVersion, type ItemFile, readItems, valueAt } from '../../src/static-trie/index.js';
import { contentOf, idsOf } from '../helpers/catalog-content.js';
import { everyType } from '../helpers/every-type.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-read-items-'));

function read(content: string | Buffer): Promise<CatalogVersion> {
  const path = join(folder, 'items.ndjson');
  writeFileSync(path, content);
  return readItems(path, everyType, [4, 300]);
}

describe('reading items', () => {
  it('takes every attribute type, null and absent as missing, blank lines and a missing last newline', async () => {
    const version = await read(
      [
        '{"id":"b","sid":[1,2],"gift":true,"stock":3,"price":2.5,"title":"x","since":"2011-12-09T12:50:00+01:00","tags":["p","q"]}',
        '',
        '{"id":"a","sid":[0,299],"gift":null,"since":"2011-12-09"}',
      ].join('\n'),
    );
    expect(idsOf(version)).toEqual(['a', 'b']);
    const values = (item: number) =>
      Object.keys(everyType).map((name) => valueAt(version.table.columns.get(name)!, item));
    expect(values(1)).toEqual([true, 3, 2.5, 'x', Date.UTC(2011, 11, 9, 11, 50), ['p', 'q']]);
    const missing = undefined;
    expect(values(0)).toEqual([missing, missing, missing, missing, Date.UTC(2011, 11, 9), missing]);
  });

  it.each([
    ['{"id":"a","sid":[1]}', 'sid', 'a list of 2 codes', '1 codes'],
    ['{"id":"a","sid":"1-2"}', 'sid', 'a list of 2 codes', '"1-2"'],
    ['{"id":"a","sid":[1,300]}', 'sid[1]', 'an integer from 0 to 299', '300'],
    ['{"id":"a","sid":[-1,3]}', 'sid[0]', 'an integer from 0 to 3', '-1'],
    ['{"id":"a","sid":[1.5,3]}', 'sid[0]', 'an integer from 0 to 3', '1.5'],
    ['{"sid":[1,3]}', 'id', 'a string of 1 to 256 characters', 'nothing'],
    ['{"id":7,"sid":[1,3]}', 'id', 'a string of 1 to 256 characters', '7'],
    ['{"id":"a","sid":[1,3],"gift":1}', 'gift', 'true or false (bool)', '1'],
    ['{"id":"a","sid":[1,3],"stock":1.5}', 'stock', 'an integer within ±(2^53 − 1) (int64)', '1.5'],
    [
      '{"id":"a","sid":[1,3],"stock":9007199254740993}',
      'stock',
      'an integer within ±(2^53 − 1) (int64)',
      '9007199254740992',
    ],
    ['{"id":"a","sid":[1,3],"price":"2.5"}', 'price', 'a number (double)', '"2.5"'],
    ['{"id":"a","sid":[1,3],"price":1e999}', 'price', 'a number (double)', 'Infinity'],
    ['{"id":"a","sid":[1,3],"title":7}', 'title', 'a string of at most 32768 characters', '7'],
    [
      '{"id":"a","sid":[1,3],"since":"2011-02-30"}',
      'since',
      expect.stringContaining('ISO 8601'),
      '"2011-02-30"',
    ],
    ['{"id":"a","sid":[1,3],"since":1323435000}', 'since', expect.stringContaining('ISO 8601'), '1323435000'],
    ['{"id":"a","sid":[1,3],"tags":["p",1]}', 'tags', 'a list of at most 4096 strings (string[])', '["p",1]'],
    [
      '{"id":"a","sid":[1,3],"colour":"red"}',
      'colour',
      expect.stringContaining('one of the attributes gift'),
      'colour',
    ],
    ['{"id":"good","sid":[0,0]}', 'id', 'an id that no other item has', '"good", as on line 1'],
    ['[]', undefined, 'one JSON object', '[]'],
    ['{"id":', undefined, 'one JSON object', expect.any(String)],
  ])('refuses %s', async (line, field, expected, found) => {
    await expect(read(`{"id":"good","sid":[0,0]}\n${line}\n`)).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [{ line: 2, ...(field !== undefined && { field }), expected, found }],
    });
  });

  it('names the first 100 bad lines', async () => {
    const lines = Array.from({ length: 250 }, (_, line) => `{"id":"${line}","sid":[9,0]}`);
    const failure = await read(lines.join('\n')).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      message: expect.stringMatching(/^at least 100 bad lines/),
    });
    expect((failure as { details: { line: number }[] }).details.map(({ line }) => line)).toEqual(
      Array.from({ length: 100 }, (_, index) => index + 1),
    );
  });

  it('tells ten faults of a line and a hundred in all, in short texts, and counts the others', async () => {
    const name = (column: number) => `${column}`.padEnd(300, 'x');
    const unknown = Object.fromEntries(Array.from({ length: 2_000 }, (_, column) => [name(column), 1]));
    const lines = (count: number) =>
      Array.from({ length: count }, (_, id) => JSON.stringify({ id: `${id}`, sid: [1, 2], ...unknown }));
    const few = await read(lines(2).join('\n')).catch((error: unknown) => error);
    expect(few).toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      message: expect.stringMatching(
        /^2 bad lines; first: line 1, field 0x+….*; 3980 more faults not listed$/,
      ),
    });
    expect((few as EspalierError).details!.map(({ line, field }) => [line, field])).toEqual(
      [1, 2].flatMap((line) =>
        Array.from({ length: 10 }, (_, column) => [line, `${name(column).slice(0, 199)}…`]),
      ),
    );
    const many = (await read(lines(30).join('\n')).catch((error: unknown) => error)) as EspalierError;
    expect(many.message).toMatch(/^at least 10 bad lines.*; 19900 more faults not listed$/);
    expect(many.details!.map(({ line }) => line)).toEqual(
      Array.from({ length: 100 }, (_, index) => Math.floor(index / 10) + 1),
    );
    for (const detail of many.details!) expect(JSON.stringify(detail).length).toBeLessThan(1_000);
  });

  it('cuts no character of a text in two', async () => {
    const name = 'x'.repeat(198) + '\u{1f381}'.repeat(20);
    const line = JSON.stringify({ id: 'a', sid: [1, 2], [name]: 1 });
    await expect(read(line)).rejects.toMatchObject({ details: [{ field: `${'x'.repeat(198)}\ufffd…` }] });
  });

  it('reads files in their order into one version, and looks for duplicates in all of them', async () => {
    const files = ['{"id":"a","sid":[0,1]}\n', '\n\n', '{"id":"b","sid":[0,1]}\n{"id":"a","sid":[2,2]}'].map(
      (content, index): ItemFile => {
        const path = join(folder, `part-${index}.ndjson`);
        writeFileSync(path, content);
        return { path, format: 'ndjson', isGzip: false };
      },
    );
    expect(idsOf(await readItems(files.slice(0, 2), everyType, [4, 300]))).toEqual(['a']);
    const fractions: number[] = [];
    const onProgress = (phase: string, fraction: number) => {
      if (phase === 'parsing') fractions.push(fraction);
    };
    await expect(readItems(files, everyType, [4, 300], { onProgress })).rejects.toMatchObject({
      details: [{ file: 'file 3', line: 2, field: 'id', found: '"a", as on line 1 of file 1' }],
    });
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    expect(fractions[0]).toBeLessThan(0.5);
    expect(fractions.at(-1)).toBe(1);
    const maxBytes = 60;
    await expect(readItems(files, everyType, [4, 300], { maxBytes })).rejects.toMatchObject({
      code: 'ESP_BODY_TOO_LARGE',
    });
  });

  it('stops between batches of rows when it is cancelled', async () => {
    const path = join(folder, 'long.ndjson');
    writeFileSync(path, Array.from({ length: 50_000 }, (_, id) => `{"id":"${id}","sid":[1,2]}`).join('\n'));
    const controller = new AbortController();
    const fractions: number[] = [];
    const onProgress = (_phase: string, fraction: number) => {
      fractions.push(fraction);
      controller.abort();
    };
    const reading = readItems(path, everyType, [4, 300], { onProgress, signal: controller.signal });
    await expect(reading).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
    expect(Math.max(...fractions)).toBeLessThan(1);
  });

  it('refuses nothing at all, bytes that are not UTF-8, and endless lines', async () => {
    await expect(read('\n\n')).rejects.toMatchObject({ code: 'ESP_UPLOAD_EMPTY' });
    await expect(read(Buffer.from([0x7b, 0xff, 0x7d]))).rejects.toMatchObject({
      details: [{ line: 1, expected: 'UTF-8 text' }],
    });
    await expect(read('x'.repeat(3 << 20))).rejects.toMatchObject({
      details: [{ line: 1, expected: 'at most 1048576 bytes' }],
    });
  });

  it('gives the same version whatever the order of the lines', async () => {
    const lines = ['{"id":"b","sid":[1,2]}', '{"id":"a","sid":[1,2]}', '{"id":"c","sid":[0,2]}'];
    const forward = await read(lines.join('\n'));
    const backward = await read(lines.toReversed().join('\n'));
    expect(contentOf(backward)).toEqual(contentOf(forward));
    expect(backward.trie).toEqual(forward.trie);
    expect(backward.leafItems).toEqual(forward.leafItems);
    expect(idsOf(forward)).toEqual(['c', 'a', 'b']);
  });

  it('orders the items of a leaf by UTF-16 code units, where UTF-8 has another order', async () => {
    const ids = ['\u{1f381}', '\uff5e', 'z', 'za', '\ue000'];
    const version = await read(ids.map((id) => JSON.stringify({ id, sid: [1, 2] })).join('\n'));
    expect(idsOf(version)).toEqual(['z', 'za', '\u{1f381}', '\ue000', '\uff5e']);
  });
});
