import { describe, expect, it } from 'vitest';
import type { CatalogRecord, ServingPair } from '../../src/server/catalogs/catalog-store.js';
import {
  outdatedVersions,
  rolledBack,
  wasActive,
  withActive,
  withoutVersions,
} from '../../src/server/catalogs/serving-pairs.js';

const pair = (version: number, model: number): ServingPair => ({
  version,
  model: { name: 'm', version: model },
  activatedAt: new Date(version).toISOString(),
});
const record = (active: ServingPair | null, ...earlier: ServingPair[]): CatalogRecord => ({
  name: 'c',
  model: { name: 'm', version: 1 },
  codebookSizes: [2],
  attributes: {},
  active,
  earlier,
  createdAt: '',
});

describe('the pairs of a catalog', () => {
  it('are kept when another becomes active, the latest last', () => {
    const first = withActive(record(null), pair(1, 1));
    expect(first).toMatchObject(record(pair(1, 1)));
    const third = withActive(withActive(first, pair(1, 2)), pair(2, 2));
    expect(third).toMatchObject(record(pair(2, 2), pair(1, 1), pair(1, 2)));
  });

  it('are not kept twice when the active one is activated again', () => {
    const again = { ...pair(2, 1), activatedAt: 'later' };
    expect(withActive(record(pair(2, 1), pair(1, 1)), again)).toMatchObject(record(again, pair(1, 1)));
  });

  it('are forgotten beyond the 32 latest', () => {
    let catalog = record(pair(1, 1));
    for (let version = 2; version <= 40; version++) catalog = withActive(catalog, pair(version, 1));
    expect(catalog.earlier.map(({ version }) => version)).toEqual(
      Array.from({ length: 32 }, (_, index) => index + 8),
    );
  });

  it('come back one by one, or down to the latest of a version', () => {
    const catalog = record(pair(3, 2), pair(1, 1), pair(2, 1), pair(1, 2), pair(2, 2));
    expect(rolledBack(catalog, undefined)).toMatchObject({
      record: record(null, pair(1, 1), pair(2, 1), pair(1, 2)),
      pair: pair(2, 2),
    });
    expect(rolledBack(catalog, pair(1, 9))).toMatchObject({
      record: record(null, pair(1, 1), pair(2, 1)),
      pair: pair(1, 2),
    });
  });

  it('do not come back where there are none', () => {
    expect(() => rolledBack(record(pair(1, 1)), undefined)).toThrow(
      expect.objectContaining({ code: 'ESP_ROLLBACK_UNAVAILABLE' }),
    );
    expect(() => rolledBack(record(pair(3, 1), pair(1, 1), pair(2, 1)), pair(3, 1))).toThrow(
      expect.objectContaining({
        code: 'ESP_ROLLBACK_UNAVAILABLE',
        details: [{ field: 'version', expected: 'another than the active version', found: '3' }],
      }),
    );
  });

  it('are those of versions that were left or never active, too, each with its own model', () => {
    const catalog = record(pair(3, 2), pair(1, 1));
    const { record: left, pair: restored } = rolledBack(catalog, pair(4, 1));
    expect([left, restored]).toEqual([
      { ...record(null, pair(1, 1)), activated: expect.arrayContaining([1, 3]) },
      pair(4, 1),
    ]);
    // What was just left is forgotten: one step back is the pair before it.
    const active = withActive(left, { ...pair(4, 1), ...restored });
    expect(rolledBack(active, undefined).pair).toEqual(pair(1, 1));
  });

  it('are known to have been active after they were rolled back, until their version is gone', () => {
    const left = withActive(withActive(record(null), pair(1, 1)), pair(2, 1));
    const back = rolledBack(left, undefined);
    const catalog = withActive(back.record, { activatedAt: '', ...back.pair });
    expect(catalog.earlier).toEqual([]);
    expect([1, 2, 3].map((version) => wasActive(catalog, version))).toEqual([true, true, false]);
    expect(wasActive(withoutVersions(catalog, [2]), 2)).toBe(false);
    // As earlier servers wrote it.
    expect([1, 2, 3].map((version) => wasActive(record(pair(2, 1), pair(1, 1)), version))).toEqual([
      ...[true, true, false],
    ]);
  });
});

describe('retention', () => {
  it('keeps the newest, the active one, what a rollback brings back, and what is being read', () => {
    const catalog = record(pair(3, 1), pair(1, 1), pair(2, 1));
    const versions = [1, 2, 3, 4, 5, 6];
    expect(outdatedVersions(catalog, versions, 1)).toEqual([1, 4, 5]);
    expect(outdatedVersions(catalog, versions, 1, [4])).toEqual([1, 5]);
  });
});
