import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail, type RetailItem, readItems } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';

/** What a request can ask for beyond its k items, through the built server. */

const history = ['20725', '85099B', '85123A'];
let server: ServerProcess;
let items: Map<string, RetailItem>;

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await loadRetail(server.url);
  items = new Map((await readItems()).map((item) => [item.id, item]));
});
afterAll(() => server.stop());

const post = (fields: object) => send(server, 'POST', '/v1/recommend', { catalog: 'retail', ...fields });

async function recommend(fields: object) {
  const { status, body } = await post({ history, ...fields });
  expect(status, JSON.stringify(body)).toBe(200);
  return body;
}

const idsOf = (answer: { items: { id: string }[] }) => answer.items.map(({ id }) => id);

describe('a recommend request', () => {
  it('explains its steps, and what became of items', async () => {
    const plain = await recommend({ constraint: { set: 'christmas' }, k: 3 });
    expect(plain).not.toHaveProperty('explain');
    const allowed = [...items.values()].filter(({ title }) => title.includes('CHRISTMAS'));
    const [first] = idsOf(plain);
    const answer = await recommend({
      constraint: { set: 'christmas', exclude: [first] },
      k: 3,
      beamWidth: [4, 8, 8],
      explain: { items: [first, '85123A', 'nobody', ...allowed.slice(0, 90).map(({ id }) => id)] },
    });
    const { steps, items: outcomes } = answer.explain;
    expect(steps.map(({ level, kept }: { level: number; kept: unknown[] }) => [level, kept.length])).toEqual([
      [0, 4],
      [1, 8],
      [2, 8],
    ]);
    expect(steps[0].liveChildren).toBe(
      new Set(allowed.filter(({ id }) => id !== first).map(({ sid }) => sid[0])).size,
    );
    expect(steps[0].kept[0].sid).toHaveLength(1);
    expect(outcomes.slice(0, 3)).toEqual([
      { id: first, outcome: 'excluded', excludedBy: ['exclude'] },
      { id: '85123A', outcome: 'excluded', excludedBy: ['set christmas'] },
      { id: 'nobody', outcome: 'unknown' },
    ]);
    const dropped = outcomes.find(({ outcome }: { outcome: string }) => outcome === 'dropped');
    expect(dropped).toEqual({
      id: expect.any(String),
      outcome: 'dropped',
      level: expect.any(Number),
      score: expect.any(Number),
      cut: expect.any(Number),
    });
    expect(dropped.score).toBeLessThanOrEqual(dropped.cut);
    // As long as its beams are many, and no longer.
    const widest = await recommend({ k: 1, beamWidth: 1024, explain: true });
    expect(JSON.stringify(widest.explain).length).toBeLessThan(3 * 1024 * 80);
  });

  it('explains itself as the documentation shows', async () => {
    const page = readFileSync(new URL('../../docs/decoding.md', import.meta.url), 'utf8');
    const section = page.slice(page.indexOf('## Explain'), page.indexOf('## Batches'));
    const [request, expected] = Array.from(section.matchAll(/```json\n(.*?)```/gs), ([, json]) =>
      JSON.parse(json),
    );
    const { explain } = await recommend(request);
    // Scores to three decimals: the rest differs between machines.
    const rounded = (value: unknown) =>
      JSON.parse(JSON.stringify(value), (_, inner) =>
        typeof inner === 'number' ? Math.round(inner * 1e3) / 1e3 : inner,
      );
    expect(rounded(explain)).toEqual(rounded(expected));
  });

  it('keeps an answer diverse, with a typed shortfall', async () => {
    const answer = await recommend({ k: 10, beamWidth: 200, diversity: { attribute: 'price', max: 1 } });
    const prices = idsOf(answer).map((id) => items.get(id)!.price);
    expect(new Set(prices).size).toBe(10);
    const constraint = { filter: 'price == 1.25' };
    const short = await recommend({ constraint, diversity: { attribute: 'price', max: 2 } });
    expect([short.items.length, short.complete]).toEqual([2, false]);
    expect(short.shortfall.code).toBe('ESP_SHORTFALL_DIVERSITY');
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/espalier_recommend_shortfalls_total\{code="ESP_SHORTFALL_DIVERSITY"\} 1\n/);
  });

  it('takes one beam width for each level', async () => {
    const same = await recommend({ beamWidth: [50, 50, 50] });
    expect(same.items).toEqual((await recommend({ beamWidth: 50 })).items);
    const narrow = await recommend({ beamWidth: [1, 1, 50], k: 50 });
    expect(narrow.shortfall.code).toBe('ESP_SHORTFALL_BEAM');
    expect(new Set(narrow.items.map(({ sid }: { sid: number[] }) => sid.slice(0, 2).join())).size).toBe(1);
  });

  it('takes tokens instead of a history', async () => {
    const offsets = [2, 258, 514];
    const tokens = history.flatMap((id) => items.get(id)!.sid.map((code, level) => offsets[level] + code));
    const { status, body } = await post({ inputIds: [1, ...tokens] });
    expect(status).toBe(200);
    expect(body.items).toEqual((await recommend({})).items);
    expect(body.unknownItems).toEqual([]);
  });

  it.each([
    ['neither history nor tokens', {}, 'history', 'one of history and inputIds', 'neither'],
    ['both', { history, inputIds: [1] }, 'history', 'one of history and inputIds', 'both'],
    ['no tokens', { inputIds: [] }, 'inputIds', 'to NOT have fewer than 1 items', '[]'],
    ['a negative token', { inputIds: [1, -1] }, 'inputIds[1]', '>= 0', '-1'],
    ['half a token', { inputIds: [1, 2.5] }, 'inputIds[1]', 'integer', '2.5'],
    [
      'a token beyond the vocabulary',
      { inputIds: [1, 770] },
      'inputIds[1]',
      "a token below the model's vocabulary of 770",
      '770',
    ],
    ['too many tokens', { inputIds: Array(62).fill(2) }, 'inputIds', '1 to 61 tokens', '62'],
    [
      'an excluded history that is tokens',
      { inputIds: [1], excludeHistory: true },
      'excludeHistory',
      'a history to exclude',
      'inputIds',
    ],
    ['a width of 0', { history, beamWidth: [50, 0, 50] }, 'beamWidth[1]', '>= 1', '0'],
    ['a width beyond 1024', { history, beamWidth: [50, 50, 1025] }, 'beamWidth[2]', '<= 1024', '1025'],
    ['one width beyond 1024', { history, beamWidth: 1025 }, 'beamWidth', '<= 1024', '1025'],
    ['a width in quotes', { history, beamWidth: '50' }, 'beamWidth', 'one of integer, array', '"50"'],
    ['no widths', { history, beamWidth: [] }, 'beamWidth', 'to NOT have fewer than 1 items', '[]'],
    ['an explanation of nothing', { history, explain: {} }, 'explain.items', 'a value', 'nothing'],
    ['an explanation in quotes', { history, explain: 'yes' }, 'explain', 'one of boolean, object', '"yes"'],
    [
      'an explanation with a misspelt field',
      { history, explain: { items: [], item: 'a' } },
      'explain.item',
      'no field of this name',
      'item',
    ],
    ['an explanation of a number', { history, explain: { items: [7] } }, 'explain.items[0]', 'string', '7'],
    [
      'an explanation of too many',
      { history, explain: { items: Array(101).fill('a') } },
      'explain.items',
      'to NOT have more than 100 items',
      'a list of 101 values',
    ],
    [
      'a diversity without max',
      { history, diversity: { attribute: 'price' } },
      'diversity.max',
      'a value',
      'nothing',
    ],
    [
      'a diversity of 0',
      { history, diversity: { attribute: 'price', max: 0 } },
      'diversity.max',
      '>= 1',
      '0',
    ],
    [
      'a diversity with a misspelt field',
      { history, diversity: { attribute: 'price', max: 1, maximum: 1 } },
      'diversity.maximum',
      'no field of this name',
      'maximum',
    ],
  ])('refuses %s', async (_, fields, field, expected, found) => {
    const { status, body } = await post(fields);
    expect([status, body.error.code]).toEqual([400, 'ESP_REQUEST_INVALID']);
    expect(body.error.details).toEqual([{ field, expected, found }]);
    expect(body.error.message).toBe(`${field}: expected ${expected}, found ${found}`);
  });

  it.each([
    ['too few', [50, 50], 'beamWidth', '3 widths, one for each level', '2'],
    ['a last one below k', [50, 50, 9], 'beamWidth[2]', 'at least 10 (k)', '9'],
  ])('refuses widths: %s', async (_, beamWidth, field, expected, found) => {
    const { status, body } = await post({ history, beamWidth });
    expect([status, body.error.code]).toEqual([400, 'ESP_BEAM_WIDTH']);
    expect(body.error.details).toEqual([{ field, expected, found }]);
  });

  it('refuses to be diverse in an attribute that there is not', async () => {
    const { status, body } = await post({ history, diversity: { attribute: 'colour', max: 1 } });
    expect([status, body.error.code]).toEqual([400, 'ESP_ATTRIBUTE_NOT_FOUND']);
    expect(body.error.details).toEqual([
      { field: 'diversity.attribute', expected: expect.stringContaining('price'), found: 'colour' },
    ]);
  });
});
