import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ActivationChanges, SetSnapshot } from '../../src/decoder/activation.js';
import { ActiveCatalog } from '../../src/decoder/active-catalog.js';
import { LruCache } from '../../src/decoder/lru-cache.js';
import type { Model } from '../../src/decoder/model.js';
import { prepareRequest } from '../../src/decoder/prepare-request.js';
import {
  type CatalogVersion,
  ChangeLog,
  type ConstraintSet,
  type ItemUpdate,
  setHasItem,
} from '../../src/static-trie/index.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { randomItems, snapshotOf, writeItems } from '../helpers/small-catalog.js';

const items = randomItems(new Random(1), 60);
const ids = items.map(({ id }) => id);
let version: CatalogVersion;
let path: string;
let catalog: ActiveCatalog;

beforeAll(async () => {
  ({ path, version } = await writeItems(items, [256, 256, 256]));
});
beforeEach(() => {
  const model = { name: 'any', version: 1, folder: '' };
  // Nothing here reads the model.
  catalog = new ActiveCatalog(
    {
      catalog: 'small',
      version: 1,
      path,
      model,
      sets: [snapshotOf(version, 'some', ids.slice(0, 30))],
      changes: null,
    },
    version,
    {} as Model,
  );
});
afterEach(() => {
  vi.useRealTimers();
});

const idsIn = (set: ConstraintSet | null) =>
  ids.filter((id) => setHasItem(version.leafItems, set, version.ids.find(id))).sort();

describe('filters', () => {
  it('that are equal share one set, in whatever order their params came', () => {
    const filter = 'price < params.max && genre == params.genre';
    const first = catalog.resolve({ filter, params: { max: 3, genre: 'art' } });
    const second = catalog.resolve({ filter, params: { genre: 'art', max: 3 } });
    expect(second.set).toBe(first.set);
    expect(catalog.constraintOf(second.set)).toBe(catalog.constraintOf(first.set));
    const other = catalog.resolve({ filter, params: { max: 5, genre: 'art' } });
    expect(other.set).not.toBe(first.set);
    expect(idsIn(other.set)).toEqual(
      items
        .filter(({ price, genre }) => (price ?? 9) < 5 && genre === 'art')
        .map(({ id }) => id)
        .sort(),
    );
  });

  it('read the last full minute as now, and share it until the next one', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const filter = 'now >= timestamp("2020-01-01T00:01:00Z")';
    const at = (time: string) => {
      vi.setSystemTime(new Date(time));
      return catalog.resolve({ filter }).set!;
    };
    const before = at('2020-01-01T00:00:01Z');
    expect(at('2020-01-01T00:00:59.999Z')).toBe(before);
    expect(before.itemCount).toBe(0);
    const after = at('2020-01-01T00:01:00Z');
    expect(after.itemCount).toBe(60);
    expect(at('2020-01-01T00:01:59Z')).toBe(after);
  });

  it('that do not read now are shared for good', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(0);
    const { set } = catalog.resolve({ filter: 'price < 3.0' });
    vi.setSystemTime(3_600_000);
    expect(catalog.resolve({ filter: 'price < 3.0' }).set).toBe(set);
  });

  it('share their intersection with a set, until the set is another', () => {
    const constraint = { set: 'some', filter: 'genre == "art"' };
    const art = items.filter(({ genre }) => genre === 'art').map(({ id }) => id);
    const both = catalog.resolve(constraint).set;
    expect(catalog.resolve(constraint).set).toBe(both);
    expect(idsIn(both)).toEqual(art.filter((id) => ids.slice(0, 30).includes(id)).sort());
    catalog.putSets([snapshotOf(version, 'some', ids.slice(30), 2)]);
    const changed = catalog.resolve(constraint);
    expect(idsIn(changed.set)).toEqual(art.filter((id) => ids.slice(30).includes(id)).sort());
    expect(changed.version).toBe(2);
  });

  it('are made again once 64 others came after them', () => {
    const setOf = (max: number) => catalog.resolve({ filter: 'price < params.max', params: { max } }).set;
    const first = setOf(0);
    for (let max = 1; max < 64; max++) setOf(max);
    expect(setOf(0)).toBe(first);
    for (let max = 100; max < 164; max++) setOf(max);
    expect(setOf(0)).not.toBe(first);
  });

  it('that fail are not kept', () => {
    const constraint = { filter: 'price < params.max' };
    for (let run = 0; run < 2; run++) {
      expect(() => catalog.resolve(constraint)).toThrow(expect.objectContaining({ code: 'ESP_RULE_NAME' }));
    }
    expect(catalog.resolve({ ...constraint, params: { max: 9 } }).set!.itemCount).toBeGreaterThan(0);
  });
});

describe('sets that requests may find', () => {
  const filter = 'price < 3.0';

  /** Whether a device may still be asked for a set, and whether it has been told to look. */
  function watch(set: ConstraintSet) {
    const generation = catalog.setGeneration;
    return () => [[...catalog.keptSets()].includes(set), catalog.setGeneration !== generation];
  }

  it('are named ones, filters and what both come to', () => {
    const named = catalog.resolve({ set: 'some' }).set!;
    const filtered = catalog.resolve({ filter }).set!;
    const both = catalog.resolve({ set: 'some', filter }).set!;
    expect(new Set(catalog.keptSets())).toEqual(new Set([named, filtered, both]));
    const looks = [named, filtered, both].map(watch);
    catalog.putSets([snapshotOf(version, 'other', ids.slice(0, 5))]);
    expect(looks.map((look) => look()[0])).toEqual([true, true, false]);
    catalog.putSets([snapshotOf(version, 'some', ids.slice(0, 5))]);
    expect(looks.map((look) => look())).toEqual([
      [false, true],
      [true, true],
      [false, true],
    ]);
  });

  it('are no deleted ones, and no filters that others have pushed out', () => {
    const named = watch(catalog.resolve({ set: 'some' }).set!);
    catalog.deleteSet('some');
    expect(named()).toEqual([false, true]);
    const filtered = watch(catalog.resolve({ filter }).set!);
    for (let other = 0; other < 64; other++) catalog.resolve({ filter: `price < ${other + 10}.5` });
    expect(filtered()).toEqual([false, true]);
  });
});

describe('sets', () => {
  it('of another catalog version are refused', () => {
    const snapshot = { ...snapshotOf(version, 'some', ids), catalogVersion: 2 };
    expect(() => catalog.putSets([snapshot])).toThrow(/expected version 1, found set some of version 2/);
  });

  it('that were not refreshed in time are refused from then on', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(1_000);
    catalog.putSets([{ ...snapshotOf(version, 'some', ids), expiresAtMs: 2_000 }]);
    expect(catalog.resolve({ set: 'some' }).version).toBe(1);
    vi.setSystemTime(2_001);
    expect(() => catalog.resolve({ set: 'some' })).toThrow(
      expect.objectContaining({ code: 'ESP_SET_STALE', statusCode: 503 }),
    );
    expect(catalog.resolve({}).set).toBe(null);
    catalog.putSets([{ ...snapshotOf(version, 'some', ids), expiresAtMs: 3_000 }]);
    expect(catalog.resolve({ set: 'some' }).version).toBe(1);
  });

  it('that were deleted are not found, nor what they came to with filters', () => {
    const constraint = { set: 'some', filter: 'price < 3.0' };
    catalog.resolve(constraint);
    catalog.deleteSet('some');
    expect(() => catalog.resolve(constraint)).toThrow(expect.objectContaining({ code: 'ESP_SET_NOT_FOUND' }));
  });

  it('that nobody has put are not found', () => {
    expect(() => catalog.resolve({ set: 'nothing' })).toThrow(
      expect.objectContaining({ code: 'ESP_SET_NOT_FOUND' }),
    );
  });

  it('are none where a request has none', () => {
    expect(catalog.resolve({})).toEqual({ parts: [], set: null, version: undefined });
  });
});

describe('changes', () => {
  const at = '2026-01-01T00:00:00.000Z';
  const art = items.filter(({ genre }) => genre === 'art').map(({ id }) => id);
  let log: ChangeLog;
  let changing: ActiveCatalog;
  let changes: ActivationChanges;

  function open(sets: SetSnapshot[]): ActiveCatalog {
    const model = { name: 'any', version: 1, folder: '' };
    return new ActiveCatalog(
      { catalog: 'small', version: 1, path, model, sets, changes },
      version,
      {} as Model,
    );
  }

  beforeEach(() => {
    changes = {
      path: join(mkdtempSync(join(tmpdir(), 'espalier-active-')), 'changes.log'),
      after: 0,
      upTo: 0,
    };
    log = ChangeLog.open(changes.path);
    changing = open([snapshotOf(version, 'some', ids.slice(0, 30))]);
  });

  const update = (id: string, attributes: ItemUpdate['attributes']) =>
    changing.applyChanges(log.append({ at, update: [{ id, attributes }] }).seq);

  it('that remove leave filters and intersections as they were kept', () => {
    const constraint = { set: 'some', filter: 'genre == "art"' };
    const before = changing.resolve(constraint).set;
    changing.applyChanges(log.append({ at, remove: [art[0]] }).seq);
    expect(changing.resolve(constraint).set).toBe(before);
    expect(changing.snapshot.isRemoved(version.ids.find(art[0]))).toBe(true);
  });

  it('that update have the filters evaluated anew that read what they touched, and no others', () => {
    const ofGenre = changing.resolve({ filter: 'genre == "art"' }).set;
    const both = changing.resolve({ set: 'some', filter: 'genre == "art"' }).set;
    const ofPrice = changing.resolve({ filter: 'price < 3.0' }).set;
    update(art[0], { genre: 'book' });
    expect(idsIn(changing.resolve({ filter: 'genre == "art"' }).set)).toEqual(art.slice(1).sort());
    expect(changing.resolve({ filter: 'genre == "art"' }).set).not.toBe(ofGenre);
    expect(changing.resolve({ set: 'some', filter: 'genre == "art"' }).set).not.toBe(both);
    expect(changing.resolve({ filter: 'price < 3.0' }).set).toBe(ofPrice);
  });

  it('have the intersections made anew of sets that became others', () => {
    const snapshot = snapshotOf(version, 'art', art);
    changing.putSets([{ ...snapshot, rule: { rule: 'genre == "art"', params: {}, nowMs: 0 } }]);
    const constraint = { set: 'art', filter: 'price < 100.0 || !has(item.price)' };
    expect(idsIn(changing.resolve(constraint).set)).toEqual([...art].sort());
    update(art[0], { genre: null });
    expect(idsIn(changing.resolve(constraint).set)).toEqual(art.slice(1).sort());
  });

  it('that cannot be applied are not passed over by the next ones', () => {
    log.append({ at, remove: [art[0]], update: [{ id: art[1], attributes: { colour: 'red' } }] });
    log.append({ at, remove: [art[2]] });
    const refused = expect.objectContaining({ code: 'ESP_ATTRIBUTE_NOT_FOUND' });
    expect(() => changing.applyChanges(1)).toThrow(refused);
    expect(() => changing.applyChanges(2)).toThrow(refused);
    expect(changing.snapshot.changesUpTo).toBe(0);
    changes = { ...changes, upTo: 2 };
    expect(() => open([])).toThrow(refused);
  });

  it('need a log', () => {
    expect(() => catalog.applyChanges(1)).toThrow(/without a log of changes/);
  });

  it('leave a request that is prepared with the items that it began with', () => {
    const model = {
      manifest: { tokens: { bos: 1 }, context: { maxItems: 3, order: 'oldestFirst' } },
      levelTokens: [{ offset: 2 }, { offset: 258 }, { offset: 514 }],
      vocabSize: 770,
    };
    Object.assign(changing.model, model);
    const request = prepareRequest(changing, query({ catalog: 'small', attributes: ['genre'] }));
    update(art[0], { genre: 'book' });
    changing.applyChanges(log.append({ at, remove: [art[1]] }).seq);
    const item = version.ids.find(art[0]);
    expect(request.snapshot.valueOf('genre', item)).toBe('art');
    expect(request.snapshot.isRemoved(version.ids.find(art[1]))).toBe(false);
    const next = prepareRequest(changing, query({ catalog: 'small' }));
    expect(next.snapshot.valueOf('genre', item)).toBe('book');
    expect([request.allowedCount, next.allowedCount]).toEqual([60, 59]);
  });
});

describe('an LRU cache', () => {
  it('lets go of the least recently used, by weight', () => {
    const made: string[] = [];
    const cache = new LruCache<{ weight: number }>(10, ({ weight }) => weight);
    const get = (key: string, weight: number) =>
      cache.get(key, () => {
        made.push(key);
        return { weight };
      });
    get('a', 4);
    get('b', 4);
    get('a', 4);
    get('c', 4);
    expect(made).toEqual(['a', 'b', 'c']);
    get('a', 4);
    get('b', 4);
    expect(made).toEqual(['a', 'b', 'c', 'b']);
    // More than all: alone, but kept.
    get('d', 11);
    get('d', 11);
    get('a', 4);
    get('d', 11);
    expect(made).toEqual(['a', 'b', 'c', 'b', 'd', 'a', 'd']);
    cache.clear();
    get('e', 5);
    get('f', 5);
    get('e', 5);
    expect(made.slice(7)).toEqual(['e', 'f']);
  });
});
