import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExplainedItem } from '../../src/decoder/explanation.js';
import type { RecommendQuery } from '../../src/decoder/index.js';
import { normalizations } from '../../src/kernels/index.js';
import { DecodeOracle, isTooClose, TOLERANCE } from '../helpers/decode-oracle.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import {
  activate,
  fixtureFolder,
  newEngine,
  randomItems,
  snapshotOf,
  writeItems,
} from '../helpers/small-catalog.js';

const LOWEST_FLOAT32 = -3.4028234663852886e38;

const { seed, numRuns } = seeded('explanations against brute force', 30);
const random = new Random(seed!);
const items = randomItems(random, 120);
const ids = items.map(({ id }) => id);
const members = ids.filter((_, index) => index % 4 !== 0);
const engine = newEngine();
let oracle: DecodeOracle;

beforeAll(async () => {
  const { path, version } = await writeItems(items, [256, 256, 256]);
  const folder = modelFolder('retail-logits');
  await activate(engine, 'small', path, folder, [snapshotOf(version, 'some', members)]);
  oracle = await DecodeOracle.open(folder, items);
});
afterAll(async () => {
  await oracle.close();
  await engine.close();
});

const small = (fields: Partial<RecommendQuery>) => query({ catalog: 'small', ...fields });
const explained = async (fields: Partial<RecommendQuery>) => (await engine.recommend(small(fields))).explain!;

describe('an explanation', () => {
  it('tells live children, kept beams, and where each item went, as brute force finds them', async () => {
    let compared = 0;
    const outcomes = new Set<string>();
    for (let run = 0; run < numRuns!; run++) {
      const request = {
        history: [random.pick(ids)],
        widths: [random.pick([2, 6]), random.pick([3, 10]), random.pick([5, 30])],
        normalize: random.pick(normalizations),
        temperature: random.pick([1, 0.5, 3]),
      };
      const { history, widths, normalize, temperature } = request;
      const { steps, ranked } = await oracle.decode({
        ...request,
        tokens: oracle.tokensOf(1, history),
        isAllowed: ({ id }) => members.includes(id),
      });
      if (steps.some(isTooClose)) continue;
      compared++;
      const k = 4;
      const found = await explained({
        history,
        beamWidth: widths,
        k,
        normalize,
        temperature,
        constraint: { set: 'some' },
        explain: { items: ids.slice(0, 100) },
      });
      expect(found.steps.map(({ level, liveChildren }) => ({ level, liveChildren }))).toEqual(
        steps.map(({ children }, level) => ({ level, liveChildren: children.length })),
      );
      found.steps.forEach(({ kept }, level) => {
        const { children, keptCount } = steps[level];
        const expected = new Map(
          children.slice(0, keptCount).map(({ codes, score }) => [codes.join(), score]),
        );
        expect(kept.map(({ sid }) => sid.join()).sort()).toEqual([...expected.keys()].sort());
        kept.forEach(({ sid, score }, rank) => {
          expect(Math.abs(score - expected.get(sid.join())!)).toBeLessThan(TOLERANCE);
          if (rank > 0) expect(score).toBeLessThanOrEqual(kept[rank - 1].score);
        });
      });
      for (const item of found.items!) {
        outcomes.add(item.outcome);
        const { sid } = items.find(({ id }) => id === item.id)!;
        if (!members.includes(item.id)) {
          expect(item).toEqual({ id: item.id, outcome: 'excluded', excludedBy: ['set some'] });
          continue;
        }
        const rank = ranked.findIndex(({ id }) => id === item.id);
        if (rank >= 0) expectFound(item, rank, ranked, k);
        else expectDropped(item, sid, steps);
      }
    }
    expect(compared).toBeGreaterThan(numRuns! * 0.8);
    expect([...outcomes].sort()).toEqual(['answered', 'beyondK', 'dropped', 'excluded']);
  });

  it('names everything that excludes an item', async () => {
    const [first, second, third] = ids.filter((id) => members.includes(id));
    const outsider = ids.find((id) => !members.includes(id))!;
    const { items: found } = await explained({
      history: [first, outsider],
      excludeHistory: true,
      constraint: {
        set: 'some',
        filter: 'price < 0.0',
        include: [first, third],
        exclude: [second, outsider],
      },
      explain: { items: [first, second, third, outsider, 'nobody'] },
    });
    expect(found).toEqual([
      { id: first, outcome: 'excluded', excludedBy: ['filter', 'history'] },
      { id: second, outcome: 'excluded', excludedBy: ['filter', 'include', 'exclude'] },
      { id: third, outcome: 'excluded', excludedBy: ['filter'] },
      {
        id: outsider,
        outcome: 'excluded',
        excludedBy: ['set some', 'filter', 'include', 'exclude', 'history'],
      },
      { id: 'nobody', outcome: 'unknown' },
    ]);
  });

  it('has no steps where nothing is allowed, and no items where none are asked for', async () => {
    expect(await explained({ constraint: { include: [] }, explain: true })).toEqual({ steps: [] });
    const { steps, items: found } = await explained({ explain: true });
    expect(steps).toHaveLength(3);
    expect(found).toBeUndefined();
  });

  it('tells of an item that diversity leaves out, and of what its rank would be', async () => {
    const free = await engine.recommend(small({ k: 30 }));
    const { items: kept } = await engine.recommend(
      small({ k: 30, diversity: { attribute: 'genre', max: 2 } }),
    );
    const out = free.items.findIndex(({ id }) => !kept.some((other) => other.id === id));
    const { id, score } = free.items[out];
    const { items: found } = await explained({
      k: 30,
      diversity: { attribute: 'genre', max: 2 },
      explain: { items: [id, kept[1].id] },
    });
    expect(found![0]).toEqual({ id, outcome: 'diversity', rank: out + 1, score });
    expect(found![1]).toMatchObject({ id: kept[1].id, outcome: 'answered' });
  });

  it('says null where the model gives a code no probability', async () => {
    const table = [0, 1].flatMap((a) => [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b] })));
    const { path } = await writeItems(table, [2, 3]);
    await activate(engine, 'silent', path, fixtureFolder('silent'));
    const { explain } = await engine.recommend(
      query({ catalog: 'silent', k: 1, explain: { items: ['0-1'] } }),
    );
    expect(explain).toEqual({
      steps: [{ level: 0, liveChildren: 0, kept: [] }],
      items: [{ id: '0-1', outcome: 'dropped', level: 0, score: null, cut: null }],
    });
  });

  it('says the lowest finite score where two masked codes add up to less', async () => {
    const table = [0, 1].flatMap((a) => [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b] })));
    const { path } = await writeItems(table, [2, 3]);
    await activate(engine, 'masked', path, fixtureFolder('masked'));
    const all = await engine.recommend(
      query({ catalog: 'masked', k: 6, beamWidth: 6, explain: { items: ['1-2'] } }),
    );
    const masked = ['0-2', '1-0', '1-1', '1-2'];
    expect(all.items.slice(2).map(({ id }) => id)).toEqual(masked);
    for (const { score } of all.items.slice(2)) expect(score).toBe(LOWEST_FLOAT32);
    for (const { score } of all.items.slice(0, 2)) expect(score).toBeGreaterThan(-20);
    expect(all.explain!.steps[1].kept.at(-1)).toEqual({ sid: [1, 2], score: LOWEST_FLOAT32 });
    expect(all.explain!.items).toEqual([{ id: '1-2', outcome: 'answered', rank: 6, score: LOWEST_FLOAT32 }]);
    const few = await engine.recommend(
      query({ catalog: 'masked', k: 1, beamWidth: [2, 4], explain: { items: ['1-2'] } }),
    );
    // The model gives the code some probability, so that its score is no null.
    const dropped = { level: 1, score: LOWEST_FLOAT32, cut: LOWEST_FLOAT32 };
    expect(few.explain!.items).toEqual([{ id: '1-2', outcome: 'dropped', ...dropped }]);
  });

  it('changes nothing in the answer, and does not come unasked', async () => {
    const request = { history: [ids[5]], k: 20, diversity: { attribute: 'tags', max: 3 } };
    const { explain, timings, ...plain } = await engine.recommend(small(request));
    expect(explain).toBeUndefined();
    for (const explain of [true, { items: ids.slice(0, 100) }]) {
      const { explain: _, timings: __, ...found } = await engine.recommend(small({ ...request, explain }));
      expect(found).toEqual(plain);
    }
    expect(await engine.recommend(small({ ...request, explain: false }))).not.toHaveProperty('explain');
  });
});

function expectFound(
  item: ExplainedItem,
  rank: number,
  ranked: readonly { id: string; score: number }[],
  k: number,
): void {
  expect(Math.abs(item.score! - ranked[rank].score)).toBeLessThan(TOLERANCE);
  const { score, ...rest } = item;
  // Scores that are almost equal may have changed places.
  const isClose = ranked.some(
    (other) => other.score !== ranked[rank].score && Math.abs(other.score - ranked[rank].score) < TOLERANCE,
  );
  if (isClose) return;
  expect(rest).toEqual({ id: item.id, outcome: rank < k ? 'answered' : 'beyondK', rank: rank + 1 });
}

function expectDropped(
  item: ExplainedItem,
  sid: readonly number[],
  steps: Awaited<ReturnType<DecodeOracle['decode']>>['steps'],
): void {
  const prefixAt = (level: number) => sid.slice(0, level + 1).join();
  const level = steps.findIndex(
    ({ children, keptCount }, depth) =>
      !children.slice(0, keptCount).some(({ codes }) => codes.join() === prefixAt(depth)),
  );
  const { children, keptCount } = steps[level];
  expect(item).toMatchObject({ outcome: 'dropped', level });
  const { score } = children.find(({ codes }) => codes.join() === prefixAt(level))!;
  expect(Math.abs(item.score! - score)).toBeLessThan(TOLERANCE);
  expect(Math.abs(item.cut! - children[keptCount - 1].score)).toBeLessThan(TOLERANCE);
}
