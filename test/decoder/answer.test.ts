import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecodeEngine } from '../../src/decoder/engine.js';
import { monotonicMs, type RecommendAnswer } from '../../src/decoder/index.js';
import { normalizations } from '../../src/kernels/index.js';
import { DecodeOracle, expectSameRanking, isTooClose } from '../helpers/decode-oracle.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import {
  activate,
  fixtureFolder,
  newEngine,
  type PlainItem,
  randomItems,
  snapshotOf,
  writeItems,
} from '../helpers/small-catalog.js';

const BOS = 1;
const FILTERS = [
  { filter: 'price < params.max', params: { max: 3 }, isTrue: (item: PlainItem) => (item.price ?? 9) < 3 },
  { filter: 'genre == "art"', isTrue: (item: PlainItem) => item.genre === 'art' },
  { filter: '"x" in tags', isTrue: (item: PlainItem) => item.tags?.includes('x') ?? false },
];

const { seed, numRuns } = seeded('answers against brute force', 60);
const random = new Random(seed!);
const items = randomItems(random, 120);
const ids = items.map(({ id }) => id);
const members = ids.filter(() => random.chance(0.6));
const engine: DecodeEngine = newEngine();
let oracle: DecodeOracle;

beforeAll(async () => {
  const { path, version } = await writeItems(items, [256, 256, 256]);
  const folder = modelFolder('retail-logits');
  await activate(engine, 'small', path, folder, [snapshotOf(version, 'some', members, 7)]);
  oracle = await DecodeOracle.open(folder, items);
});
afterAll(async () => {
  await oracle.close();
  await engine.close();
});

const sampleIds = (count: number) => Array.from({ length: count }, () => random.pick(ids));

/** A request of every kind, and which items it may get. */
function randomRequest(widths: number[]) {
  const history = sampleIds(random.below(4));
  const filter = random.chance(0.4) ? random.pick(FILTERS) : undefined;
  const set = random.chance(0.4) ? 'some' : undefined;
  const include = random.chance(0.3) ? sampleIds(30) : undefined;
  const exclude = random.chance(0.5) ? sampleIds(10) : undefined;
  const excludeHistory = random.chance(0.5);
  const mayGet = (item: PlainItem) =>
    (set === undefined || members.includes(item.id)) &&
    (filter?.isTrue(item) ?? true) &&
    (include?.includes(item.id) ?? true) &&
    !exclude?.includes(item.id) &&
    !(excludeHistory && history.includes(item.id));
  return {
    isAllowed: mayGet,
    query: query({
      catalog: 'small',
      history,
      excludeHistory,
      constraint: {
        ...(set && { set }),
        ...(filter && { filter: filter.filter, ...(filter.params && { params: filter.params }) }),
        ...(include && { include }),
        ...(exclude && { exclude }),
      },
      normalize: random.pick(normalizations),
      temperature: random.pick([1, 1, 0.5, 3]),
      k: random.pick([1, widths[2]]),
      beamWidth: new Set(widths).size === 1 && random.chance(0.5) ? widths[0] : widths,
    }),
  };
}

async function expectOracles(widths: number[]): Promise<boolean> {
  const request = randomRequest(widths);
  const { k, history, normalize, temperature } = request.query;
  const { steps, ranked } = await oracle.decode({
    tokens: oracle.tokensOf(BOS, history),
    isAllowed: request.isAllowed,
    widths,
    normalize,
    temperature,
  });
  if (steps.some(isTooClose)) return false;
  const answer = await engine.recommend(request.query);
  expectSameRanking(answer.items, ranked, k);
  expectShortfall(answer, items.filter(request.isAllowed).length, ranked.length, k);
  return true;
}

function expectShortfall(answer: RecommendAnswer, allowed: number, found: number, k: number): void {
  const code =
    allowed === 0
      ? 'ESP_SHORTFALL_NOTHING_ALLOWED'
      : allowed < k
        ? 'ESP_SHORTFALL_FEW_ALLOWED'
        : 'ESP_SHORTFALL_BEAM';
  expect(answer.shortfall?.code).toBe(found < k ? code : undefined);
  expect(answer.complete).toBe(found >= k);
}

describe('answers are those of brute force', () => {
  it('over all items, where the beam covers every live prefix', async () => {
    let compared = 0;
    for (let run = 0; run < numRuns!; run++) if (await expectOracles([120, 120, 120])) compared++;
    expect(compared).toBe(numRuns);
  });

  it('step by step, where each level has a width of its own and items are dropped', async () => {
    let compared = 0;
    for (let run = 0; run < numRuns!; run++) {
      const widths = [random.pick([1, 2, 6]), random.pick([1, 3, 20]), random.pick([1, 5, 30])];
      if (await expectOracles(widths)) compared++;
    }
    expect(compared).toBeGreaterThan(numRuns! * 0.9);
  });
});

describe('items on one SID', () => {
  const shared = [
    { id: 'b', sid: [0, 0], price: 5 },
    { id: 'a', sid: [0, 0], price: 1 },
    { id: 'B', sid: [0, 0], price: 1 },
    { id: 'ｚ', sid: [0, 0], price: 1 },
    { id: '😀', sid: [0, 0], price: 1 },
    { id: 'c', sid: [1, 2], price: 5 },
  ];
  const request = (fields: Parameters<typeof query>[0]) => query({ catalog: 'shared', k: 6, ...fields });
  const answered = async (fields: Parameters<typeof query>[0]) => {
    const answer = await engine.recommend(request(fields));
    return answer.items.filter(({ sid }) => sid.join() === '0,0').map(({ id }) => id);
  };

  beforeAll(async () => {
    const { path } = await writeItems(shared, [2, 3]);
    await activate(engine, 'shared', path, fixtureFolder('table'));
  });

  it('are all answered with one score, in the order of their code units', async () => {
    const { items: found } = await engine.recommend(request({}));
    expect(await answered({})).toEqual(['B', 'a', 'b', '😀', 'ｚ']);
    expect(new Set(found.filter(({ id }) => id !== 'c').map(({ score }) => score)).size).toBe(1);
  });

  it('are asked again, one by one: rule, include, exclude and history', async () => {
    expect(await answered({ constraint: { filter: 'price < 2.0' } })).toEqual(['B', 'a', '😀', 'ｚ']);
    expect(await answered({ constraint: { include: ['b', 'ｚ', 'c'] } })).toEqual(['b', 'ｚ']);
    expect(await answered({ constraint: { exclude: ['a', '😀'] } })).toEqual(['B', 'b', 'ｚ']);
    expect(await answered({ history: ['B', 'b'], excludeHistory: true })).toEqual(['a', '😀', 'ｚ']);
    const both = { filter: 'price < 2.0', include: ['b', 'B', 'a'], exclude: ['a'] };
    expect(await answered({ constraint: both })).toEqual(['B']);
  });

  it('may be cut at k within a SID', async () => {
    const { items: found, complete } = await engine.recommend(
      request({ k: 2, constraint: { include: ['a', 'b', 'ｚ'] } }),
    );
    expect(found.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(complete).toBe(true);
  });
});

describe('what comes with the items', () => {
  const request = (fields: Parameters<typeof query>[0]) => query({ catalog: 'small', ...fields });

  it('lists unknown ids of history, include and exclude once, and ignores them', async () => {
    const history = ['nobody', ids[0], 'nobody'];
    const constraint = { include: ['nothing', ids[1]], exclude: ['nowhere', 'nobody'] };
    const answer = await engine.recommend(request({ history, constraint, k: 1 }));
    expect(answer.unknownItems.sort()).toEqual(['nobody', 'nothing', 'nowhere']);
    expect(answer.items.map(({ id }) => id)).toEqual([ids[1]]);
  });

  it('names the versions, the set’s only where there is one, and where nothing is allowed as well', async () => {
    const free = await engine.recommend(request({}));
    expect(free.versions).toEqual({ catalog: 1, model: 1 });
    const set = await engine.recommend(request({ constraint: { set: 'some', include: [] } }));
    expect(set.versions).toEqual({ catalog: 1, constraintSet: 7, model: 1 });
  });

  it('says how long it took: each part within the whole', async () => {
    const enqueuedAtMs = monotonicMs() - 50;
    const { timings } = await engine.recommend(request({ enqueuedAtMs }));
    expect(timings.queueMs).toBeGreaterThanOrEqual(50);
    expect(timings.modelMs).toBeGreaterThan(0);
    expect(timings.constraintMs).toBeGreaterThan(0);
    expect(timings.queueMs + timings.modelMs + timings.constraintMs).toBeLessThanOrEqual(timings.totalMs);
  });

  it('says that the beam is to blame where more items are allowed than it ended on', async () => {
    // One prefix of level 0, and one of level 1 below it: at most 4 SIDs remain.
    const answer = await engine.recommend(request({ k: 60, beamWidth: [1, 1, 60] }));
    expect(answer.complete).toBe(false);
    expect(answer.shortfall).toEqual({
      code: 'ESP_SHORTFALL_BEAM',
      message: `120 items are allowed, but the beam ended on ${answer.items.length}; a wider beam may find more`,
    });
  });
});

describe('beam widths by level', () => {
  it.each([
    ['too short a list', [50, 50], 'beamWidth', '3 widths, one for each level', '2'],
    ['too long a list', [50, 50, 50, 50], 'beamWidth', '3 widths, one for each level', '4'],
    ['a last width below k', [50, 50, 9], 'beamWidth[2]', 'at least 10 (k)', '9'],
  ])('refuse %s', async (_, beamWidth, field, expected, found) => {
    await expect(engine.recommend(query({ catalog: 'small', beamWidth, k: 10 }))).rejects.toMatchObject({
      code: 'ESP_BEAM_WIDTH',
      details: [{ field, expected, found }],
    });
  });
});

describe('inputIds', () => {
  it('answer as the history does that they stand for', async () => {
    const history = [ids[3], ids[50], ids[7]];
    const inputIds = oracle.tokensOf(BOS, history);
    const found = await engine.recommend(query({ catalog: 'small', inputIds }));
    const expected = await engine.recommend(query({ catalog: 'small', history }));
    expect(found.items).toEqual(expected.items);
  });

  it('are what the model reads, bos or not', async () => {
    const tokens = oracle.tokensOf(BOS, [ids[3]]).slice(1);
    const widths = [50, 50, 50];
    const { ranked } = await oracle.decode({
      tokens,
      isAllowed: () => true,
      widths,
      normalize: 'vocabulary',
      temperature: 1,
    });
    const answer = await engine.recommend(query({ catalog: 'small', inputIds: tokens }));
    expectSameRanking(answer.items, ranked, 10);
  });

  it('may be as long as the longest history, and not longer', async () => {
    const longest = oracle.tokensOf(BOS, Array(20).fill(ids[0]));
    const fits = await engine.recommend(query({ catalog: 'small', inputIds: longest }));
    expect(fits.items).toHaveLength(10);
    await expect(
      engine.recommend(query({ catalog: 'small', inputIds: [...longest, 2] })),
    ).rejects.toMatchObject({
      code: 'ESP_REQUEST_INVALID',
      details: [{ field: 'inputIds', expected: '1 to 61 tokens', found: '62' }],
    });
  });

  it('are tokens that the model has', async () => {
    await expect(engine.recommend(query({ catalog: 'small', inputIds: [1, 770] }))).rejects.toMatchObject({
      code: 'ESP_REQUEST_INVALID',
      details: [
        {
          field: 'inputIds[1]',
          expected: "a token below the model's vocabulary of 770",
          found: '770',
        },
      ],
    });
  });
});
