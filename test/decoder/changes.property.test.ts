import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { SetSnapshot } from '../../src/decoder/activation.js';
import { ActiveCatalog } from '../../src/decoder/active-catalog.js';
import type { RecommendAnswer, RecommendQuery } from '../../src/decoder/index.js';
import type { Model } from '../../src/decoder/model.js';
import { type CatalogVersion, ChangeLog } from '../../src/static-trie/index.js';
import {
  applyPlainly,
  evaluated,
  type PlainState,
  randomChange,
  randomStates,
  truthsOf,
  versionOf,
  writeStates,
} from '../helpers/changing-catalog.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import { activate, newEngine } from '../helpers/small-catalog.js';

const folder = modelFolder('retail-logits');
const engine = newEngine();
afterAll(() => engine.close());

describe('sets over a catalog that changes', () => {
  it('are what a fresh evaluation gives, however puts, changes and restarts come', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (caseSeed) => {
        const random = new Random(caseSeed);
        const start = randomStates(random, 1 + random.below(30));
        const ids = start.map(({ id }) => id);
        const truths = truthsOf(ids.filter(() => random.chance(0.3)));
        const { folder: place, path, version } = await writeStates(start);
        const log = ChangeLog.open(join(place, 'changes.log'));
        // What the version has in it already must not happen to it again.
        const after = random.below(3);
        for (let count = 0; count < after; count++) log.append(randomChange(random, ids, 0.5));
        /** The items after each change, and a version that was built of them. */
        const states = new Map([[after, start]]);
        const versions = new Map<number, CatalogVersion>([[after, version]]);
        const put = new Map<string, SetSnapshot>();
        let applied = after;
        const open = () => {
          const changes = { path: join(place, 'changes.log'), after, upTo: applied };
          const model = { name: 'any', version: 1, folder: '' };
          const sets = [...put.values()];
          return new ActiveCatalog(
            { catalog: 'c', version: 1, path, model, sets, changes },
            version,
            {} as Model,
          );
        };
        let catalog = open();
        for (let step = 0; step < 15; step++) {
          const { lastSeq } = log;
          switch (random.below(5)) {
            case 0: {
              // Evaluated over any of the states, also over one that the engine is not in yet.
              const seq = after + random.below(lastSeq - after + 1);
              const name = random.pick(Object.keys(truths));
              const snapshot = evaluated(versions.get(seq)!, name, truths[name], seq);
              put.set(name, snapshot);
              catalog.putSets([snapshot]);
              break;
            }
            case 1:
              applied += random.below(lastSeq - applied + 1);
              catalog.applyChanges(applied);
              break;
            case 2:
              catalog = open();
              break;
            default: {
              const entry = log.append(randomChange(random, ids, 0.2));
              states.set(entry.seq, applyPlainly(states.get(lastSeq)!, entry));
              versions.set(entry.seq, await versionOf(states.get(entry.seq)!));
            }
          }
          for (const [name, { changesUpTo }] of put) {
            const seq = Math.max(changesUpTo, applied);
            const fresh = evaluated(versions.get(seq)!, name, truths[name], seq);
            expect([name, catalog.snapshot.sets.get(name)!.set]).toEqual([name, fresh.set]);
          }
          const removed = states.get(applied)!.filter(({ isRemoved }) => isRemoved);
          expect(catalog.snapshot.removedCount).toBe(removed.length);
        }
      }),
      seeded('sets over changes', 50),
    );
  });
});

const { seed, numRuns } = seeded('answers over changes', 3);
const random = new Random(seed!);

/** A request of any kind; of the ids in it, those of the history are not removed. */
function randomQuery(ids: readonly string[], left: readonly string[]): RecommendQuery {
  const sample = (from: readonly string[], count: number) =>
    Array.from({ length: count }, () => random.pick(from));
  return query({
    history: sample(left, random.below(4)),
    k: random.pick([1, 10, 60]),
    beamWidth: random.pick([60, 120]),
    excludeHistory: random.chance(0.5),
    constraint: {
      ...(random.chance(0.5) && { set: random.pick(Object.keys(truthsOf([]))) }),
      ...(random.chance(0.4) && { filter: 'price <= params.max', params: { max: random.pick([1, 9]) } }),
      ...(random.chance(0.3) && { include: sample(ids, 40) }),
      ...(random.chance(0.4) && { exclude: sample(ids, 20) }),
    },
    attributes: random.chance(0.5) ? ['genre', 'since', 'tags'] : [],
    ...(random.chance(0.3) && {
      diversity: { attribute: random.pick(['genre', 'tags', 'price']), max: random.pick([1, 3]) },
    }),
    ...(random.chance(0.5) && { explain: { items: sample(ids, 10) } }),
  });
}

/** What a catalog that was built anew says, without the removed items that it does not know. */
function comparable(answer: RecommendAnswer, removed: ReadonlySet<string>) {
  const { timings, unknownItems, explain, ...rest } = answer;
  return {
    ...rest,
    unknownItems: unknownItems.filter((id) => !removed.has(id)),
    steps: explain?.steps,
    outcomes: explain?.items?.filter(({ id }) => !removed.has(id)),
  };
}

describe('answers over a catalog that changes', () => {
  async function expectSame(states: readonly PlainState[], queries: number): Promise<void> {
    const ids = states.map(({ id }) => id);
    const left = states.filter(({ isRemoved }) => !isRemoved);
    const removed = new Set(states.filter(({ isRemoved }) => isRemoved).map(({ id }) => id));
    const anew = await writeStates(left);
    const truths = truthsOf(left.filter((_, index) => index % 2 === 0).map(({ id }) => id));
    const sets = Object.entries(truths).map(([name, truth]) => evaluated(anew.version, name, truth, 0));
    await activate(engine, 'anew', anew.path, folder, sets);
    for (let count = 0; count < queries; count++) {
      const request = randomQuery(
        ids,
        left.map(({ id }) => id),
      );
      const found = await engine.recommend({ ...request, catalog: 'changing' });
      const expected = await engine.recommend({ ...request, catalog: 'anew' });
      expect(comparable(found, removed)).toEqual(comparable(expected, removed));
      for (const { id } of found.items) expect(removed.has(id)).toBe(false);
      for (const { id, outcome, excludedBy } of found.explain?.items ?? []) {
        if (removed.has(id)) expect([outcome, excludedBy?.[0]]).toEqual(['excluded', 'removed']);
      }
    }
  }

  it.each([
    ['few removals, taken as exclusions', 120, 0.04],
    ['many, folded into the sets', 1200, 0.15],
  ])('are exactly those of one that is built anew: %s', async (_, itemCount, share) => {
    for (let run = 0; run < numRuns!; run++) {
      let states = randomStates(random, itemCount);
      const ids = states.map(({ id }) => id);
      const truths = truthsOf([]);
      const { folder: place, path, version } = await writeStates(states);
      const log = ChangeLog.open(join(place, 'changes.log'));
      const sets = Object.entries(truths).map(([name, truth]) => evaluated(version, name, truth, 0));
      const changes = { path: join(place, 'changes.log'), after: 0, upTo: 0 };
      await activate(engine, 'changing', path, folder, sets, changes);
      for (let step = 0; step < 3; step++) {
        const entry = log.append(randomChange(random, ids, share));
        states = applyPlainly(states, entry);
        engine.applyChanges('changing', entry.seq);
        // A list of items that are there now: of those, only the changes to come remove some.
        const left = states.filter(({ isRemoved }) => !isRemoved);
        const listed = truthsOf(left.filter((__, index) => index % 2 === 0).map(({ id }) => id)).listed;
        engine.putSet('changing', evaluated(version, 'listed', listed, 0));
        await expectSame(states, 12);
      }
    }
  });

  it('count what the changes did', async () => {
    const states = randomStates(new Random(1), 60);
    const ids = states.map(({ id }) => id);
    const { folder: place, path, version } = await writeStates(states);
    const log = ChangeLog.open(join(place, 'changes.log'));
    const sets = Object.entries(truthsOf([])).map(([name, truth]) => evaluated(version, name, truth, 0));
    const changes = { path: join(place, 'changes.log'), after: 0, upTo: 0 };
    await activate(engine, 'changing', path, folder, sets, changes);
    log.append({ at: '', remove: ids.slice(0, 3) });
    log.append({ at: '', update: ids.slice(3).map((id) => ({ id, attributes: { price: 1 } })) });
    expect(engine.applyChanges('changing', 1)).toEqual({ sets: [], removedItems: 3 });
    const { sets: changed, removedItems } = engine.applyChanges('changing', 2);
    expect(removedItems).toBe(3);
    expect(changed.map(({ name }) => name)).toEqual(['cheap', 'art', 'tagged']);
    expect(changed[0].items).toBeGreaterThanOrEqual(57);
    expect(engine.applyChanges('changing', 2)).toEqual({ sets: [], removedItems: 3 });
    expect(engine.applyChanges('nowhere', 2)).toEqual({ sets: [], removedItems: 0 });
    expect(() => engine.applyChanges('changing', 3)).toThrow(
      expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }),
    );
  });

  it('read a removed item in a history as before, and do not answer it', async () => {
    const states = randomStates(new Random(2), 60);
    const { folder: place, path } = await writeStates(states);
    const log = ChangeLog.open(join(place, 'changes.log'));
    const changes = { path: join(place, 'changes.log'), after: 0, upTo: 0 };
    await activate(engine, 'changing', path, folder, [], changes);
    const gone = states[4].id;
    const request = query({ catalog: 'changing', history: [gone], k: 60, beamWidth: 60 });
    const before = await engine.recommend({ ...request, excludeHistory: true });
    log.append({ at: '', remove: [gone] });
    engine.applyChanges('changing', 1);
    const found = await engine.recommend(request);
    expect(found.items).toEqual(before.items);
    expect(found.unknownItems).toEqual([]);
    expect(found.shortfall).toEqual({
      code: 'ESP_SHORTFALL_FEW_ALLOWED',
      message: 'the constraint allows 59 items, fewer than k = 60',
    });
    const only = await engine.recommend({ ...request, constraint: { include: [gone] } });
    expect(only.shortfall!.code).toBe('ESP_SHORTFALL_NOTHING_ALLOWED');
    engine.removeCatalog('changing');
    await expect(engine.recommend(request)).rejects.toMatchObject({ code: 'ESP_CATALOG_INACTIVE' });
  });
});
