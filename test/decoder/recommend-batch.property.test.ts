import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ActiveCatalog } from '../../src/decoder/active-catalog.js';
import type { DecodeEngine, QueryResult } from '../../src/decoder/engine.js';
import type { RecommendAnswer, RecommendQuery } from '../../src/decoder/index.js';
import { openModel } from '../../src/decoder/model.js';
import { monotonicMs } from '../../src/decoder/monotonic-ms.js';
import { PrefillCache } from '../../src/decoder/prefill-cache.js';
import { Recommender } from '../../src/decoder/recommend.js';
import { chooseKernel, normalizations } from '../../src/kernels/index.js';
import type { ColumnByType } from '../../src/static-trie/columns.js';
import { expectSameRanking, TOLERANCE } from '../helpers/decode-oracle.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { buildRetailCatalog, modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import {
  activate,
  fixtureFolder,
  newEngine,
  randomItems,
  snapshotOf,
  writeItems,
} from '../helpers/small-catalog.js';

const { seed, numRuns } = seeded('batches of requests', 3);
const random = new Random(seed!);
const smallItems = randomItems(random, 120);
const tableItems = [0, 1].flatMap((a) => [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b] })));
/** The ids of each catalog. */
const idsOf = new Map<string, string[]>();

async function openEngine(prefillCacheBytes: number): Promise<DecodeEngine> {
  const engine = newEngine(prefillCacheBytes);
  const retail = await buildRetailCatalog();
  const small = await writeItems(smallItems, [256, 256, 256]);
  const table = await writeItems(tableItems, [2, 3]);
  const retailIds = Array.from({ length: retail.version.leafItems.itemCount }, (_, item) =>
    retail.version.ids.at(item),
  );
  const some = snapshotOf(
    retail.version,
    'some',
    retailIds.filter((_, index) => index % 3 === 0),
  );
  await activate(engine, 'retail', retail.path, modelFolder('retail'), [some]);
  await activate(engine, 'small', small.path, modelFolder('retail-logits'), [
    snapshotOf(
      small.version,
      'some',
      smallItems.slice(0, 70).map(({ id }) => id),
    ),
  ]);
  await activate(engine, 'nan', table.path, fixtureFolder('nan'));
  idsOf.set('retail', retailIds);
  idsOf.set(
    'small',
    smallItems.map(({ id }) => id),
  );
  return engine;
}

let number = 0;

function randomQuery(): RecommendQuery {
  const catalog = random.pick(['retail', 'retail', 'small']);
  const ids = idsOf.get(catalog)!;
  const sample = (count: number) => Array.from({ length: count }, () => random.pick(ids));
  const isSmall = catalog === 'small';
  const widths = [random.pick([1, 8, 30]), random.pick([2, 20, 60]), random.pick([20, 40])];
  const price = random.pick([1, 2.5, 4]);
  return query({
    requestId: `request ${number++}`,
    catalog,
    // Comparing takes longer than a request may.
    deadlineAtMs: Number.MAX_SAFE_INTEGER,
    history: sample(random.pick([0, 1, 3, 25])),
    k: random.pick([1, 5, 20]),
    beamWidth: random.chance(0.5) ? random.pick([20, 33, 50]) : widths,
    excludeHistory: random.chance(0.5),
    constraint: {
      ...(random.chance(0.4) && { set: 'some' }),
      ...(random.chance(0.4) && { filter: 'price <= params.max', params: { max: price } }),
      ...(random.chance(0.2) && { include: sample(200) }),
      ...(random.chance(0.4) && { exclude: sample(30) }),
    },
    normalize: random.pick(normalizations),
    temperature: random.pick([1, 1, 0.5, 3]),
    attributes: random.chance(0.5) ? ['price'] : [],
    ...(random.chance(0.3) && {
      diversity: { attribute: isSmall ? random.pick(['genre', 'tags', 'since']) : 'price', max: 2 },
    }),
    ...(random.chance(0.3) && { explain: random.chance(0.5) || { items: sample(5) } }),
  });
}

/** Everything but what took how long; scores to the last digits. */
function expectSameAnswer(found: RecommendAnswer, expected: RecommendAnswer): void {
  expectSameRanking(found.items, expected.items, expected.items.length);
  const rest = ({ items, timings, explain, ...others }: RecommendAnswer) => ({
    ...others,
    attributes: items.map(({ attributes }) => attributes),
    steps: explain?.steps.map(({ level, liveChildren, kept }) => ({
      level,
      liveChildren,
      sids: kept.map(({ sid }) => sid).sort(),
    })),
    outcomes: explain?.items?.map(({ id, outcome, level, excludedBy }) => ({
      id,
      outcome,
      level,
      excludedBy,
    })),
  });
  expect(rest(found)).toEqual(rest(expected));
  found.explain?.items?.forEach(({ score, cut }, index) => {
    const alone = expected.explain!.items![index];
    expect(Math.abs((score ?? 0) - (alone.score ?? 0))).toBeLessThan(TOLERANCE);
    expect(Math.abs((cut ?? 0) - (alone.cut ?? 0))).toBeLessThan(TOLERANCE);
  });
}

function answerOf(result: QueryResult): RecommendAnswer {
  if ('error' in result) throw new Error(`${result.error.code}: ${result.error.message}`);
  return result.answer;
}

describe.each([
  ['with kept histories', 1 << 26],
  ['without', 0],
])('a batch of different requests, %s', (_, cacheBytes) => {
  let engine: DecodeEngine;
  let alone: DecodeEngine;
  beforeAll(async () => {
    engine = await openEngine(cacheBytes);
    alone = await openEngine(0);
  });
  afterAll(async () => {
    await engine.close();
    await alone.close();
  });

  /**
   * Whether other last digits alone may change what is kept: a beam's last child and the next one, or two items that
   * compete for their diversity, score nearly the same.
   */
  async function isClose(request: RecommendQuery): Promise<boolean> {
    const { beamWidth, diversity } = request;
    const widths = typeof beamWidth === 'number' ? Array<number>(3).fill(beamWidth) : beamWidth;
    for (const [level, width] of widths.entries()) {
      const wider = widths.map((own, other) => (other === level ? own + 1 : own));
      const { explain } = await alone.recommend({ ...request, beamWidth: wider, explain: true });
      const { kept } = explain!.steps[level];
      if (kept.length > width && kept[width - 1].score - kept[width].score < TOLERANCE) return true;
    }
    if (diversity === undefined) return false;
    const { diversity: _diversity, ...free } = request;
    const { items } = await alone.recommend({ ...free, k: widths[2] });
    return items.some(({ score }, rank) => {
      const gap = rank === 0 ? 1 : items[rank - 1].score - score;
      return gap > 0 && gap < TOLERANCE;
    });
  }

  it('answers each as alone', async () => {
    let closeCount = 0;
    let count = 0;
    for (let run = 0; run < numRuns!; run++) {
      const queries = Array.from({ length: random.pick([2, 8, 16]) }, randomQuery);
      // The same history again, under another constraint.
      queries.push({ ...queries[0], requestId: 'again', constraint: { filter: 'price < 5.0' } });
      const { results } = await engine.recommendBatch(queries);
      for (const [index, result] of results.entries()) {
        count++;
        const expected = await alone.recommend(queries[index]);
        try {
          expectSameAnswer(answerOf(result), expected);
        } catch (difference) {
          if (!(await isClose(queries[index]))) throw difference;
          closeCount++;
        }
      }
    }
    expect(closeCount).toBeLessThanOrEqual(count * 0.05);
  });

  it('leaves the others alone when requests have errors of their own', async () => {
    const good = Array.from({ length: 6 }, randomQuery);
    const nan = { catalog: 'nan', history: [], k: 1 };
    const bad: [string, Partial<RecommendQuery>][] = [
      ['ESP_SET_NOT_FOUND', { constraint: { set: 'nothing' } }],
      ['ESP_RULE_SYNTAX', { constraint: { filter: 'price <' } }],
      ['ESP_ATTRIBUTE_NOT_FOUND', { attributes: ['colour'] }],
      ['ESP_ATTRIBUTE_NOT_FOUND', { diversity: { attribute: 'colour', max: 1 } }],
      ['ESP_BEAM_WIDTH', { beamWidth: [20] }],
      ['ESP_REQUEST_INVALID', { inputIds: [100_000] }],
      ['ESP_CATALOG_INACTIVE', { catalog: 'nothing' }],
      ['ESP_TIMEOUT', { deadlineAtMs: monotonicMs() - 1 }],
      ['ESP_MODEL_OUTPUT', nan],
      ['ESP_CANCELLED', { requestId: 'given up' }],
    ];
    const queries = [
      ...good.slice(0, 3),
      ...bad.map(([, fields]) => query({ requestId: 'bad', ...fields })),
      ...good.slice(3),
      // Its beams never pass the NaN, so neither does its error.
      query({ ...nan, k: 2, constraint: { include: ['0-0', '0-2'] } }),
    ];
    const batch = engine.recommendBatch(queries);
    engine.cancel('given up');
    const { results } = await batch;
    const errors = results.map((result) => ('error' in result ? result.error.code : undefined));
    expect(errors).toEqual([
      ...Array(3).fill(undefined),
      ...bad.map(([code]) => code),
      ...Array(4).fill(undefined),
    ]);
    for (const [index, result] of results.entries()) {
      if ('error' in result) continue;
      const expected = await alone.recommend(queries[index]);
      expectSameRanking(result.answer.items, expected.items, expected.items.length);
    }
    expect(
      answerOf(results.at(-1)!)
        .items.map(({ id }) => id)
        .sort(),
    ).toEqual(['0-0', '0-2']);
  });
});

it('lets go between two steps what is late or given up, and the others go on', async () => {
  const { path, version } = await writeItems(smallItems, [256, 256, 256]);
  const folder = modelFolder('retail-logits');
  const model = await openModel(folder, 1);
  const ref = { name: 'retail-logits', version: 1, folder };
  const catalog = new ActiveCatalog(
    { catalog: 'small', version: 1, path, model: ref, sets: [], changes: null },
    version,
    model,
  );
  const recommender = new Recommender(chooseKernel(), new PrefillCache(0));
  /** Beams of each request, as the model gets them. */
  const beamCounts: number[][] = [];
  const begin = model.begin.bind(model);
  model.begin = (prefills) => {
    const decoding = begin(prefills);
    return {
      advance(beams, isLast) {
        beamCounts.push([...beams.counts]);
        return decoding.advance(beams, isLast);
      },
    };
  };
  const asked = new Map<string, number>();
  /** Asked before each model run: the late one is kept until its deadline before the second step. */
  const isCancelled = (id: string) => {
    asked.set(id, (asked.get(id) ?? 0) + 1);
    if (id === 'late' && asked.get(id) === 3) while (monotonicMs() < late.deadlineAtMs);
    return id === 'given up' && asked.get(id) === 2;
  };
  const queries = ['first', 'late', 'given up', 'last'].map((requestId) =>
    query({ requestId, catalog: 'small', history: [smallItems[requestId.length].id] }),
  );
  const late = queries[1];
  late.deadlineAtMs = monotonicMs() + 2_000;
  const { answers } = await recommender.answer(
    queries.map((one) => ({ catalog, query: one })),
    isCancelled,
  );
  expect(answers[1]).toMatchObject({
    code: 'ESP_TIMEOUT',
    message: 'request late, the deadline passed before step 2 of 3',
  });
  expect(answers[2]).toMatchObject({ code: 'ESP_CANCELLED' });
  // Nothing is read for who has left.
  expect(beamCounts.map((counts) => counts.map((count) => count > 0))).toEqual([
    [true, true, false, true],
    [true, false, false, true],
  ]);
  for (const index of [0, 3]) {
    const { answers: single } = await recommender.answer([{ catalog, query: queries[index] }], () => false);
    expectSameAnswer(answers[index] as RecommendAnswer, single[0] as RecommendAnswer);
  }
  await model.close();
});

it('keeps damage that one request comes upon from the others', async () => {
  const { path, version } = await writeItems(smallItems, [256, 256, 256]);
  const genre = version.table.columns.get('genre') as ColumnByType['string'];
  const codes = new Uint8Array(smallItems.length).fill(255);
  const columns = new Map([['genre', { ...genre, codes, present: null }]]);
  const folder = modelFolder('retail-logits');
  const model = await openModel(folder, 1);
  const ref = { name: 'retail-logits', version: 1, folder };
  const activation = { catalog: 'small', version: 1, path, model: ref, sets: [], changes: null };
  const damaged = { ...version, table: { ...version.table, columns } };
  const catalog = new ActiveCatalog(activation, damaged, model);
  const queries = [{ attributes: ['genre'] }, {}, { diversity: { attribute: 'genre', max: 1 } }, {}];
  const recommender = new Recommender(chooseKernel(), new PrefillCache(0));
  const { answers } = await recommender.answer(
    queries.map((fields) => ({ catalog, query: query({ catalog: 'small', ...fields }) })),
    () => false,
  );
  for (const index of [0, 2]) expect(answers[index]).toMatchObject({ code: 'ESP_ARTIFACT_CORRUPT' });
  for (const index of [1, 3]) expect((answers[index] as RecommendAnswer).items).toHaveLength(10);
  await model.close();
});
