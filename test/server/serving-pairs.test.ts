import { describe, expect, it } from 'vitest';
import type { CatalogRecord, ServingPair } from '../../src/server/catalogs/catalog-store.js';
import { rolledBack, withActive } from '../../src/server/catalogs/serving-pairs.js';

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
    expect(first).toEqual(record(pair(1, 1)));
    const third = withActive(withActive(first, pair(1, 2)), pair(2, 2));
    expect(third).toEqual(record(pair(2, 2), pair(1, 1), pair(1, 2)));
  });

  it('are not kept twice when the active one is activated again', () => {
    const again = { ...pair(2, 1), activatedAt: 'later' };
    expect(withActive(record(pair(2, 1), pair(1, 1)), again)).toEqual(record(again, pair(1, 1)));
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
    expect(rolledBack(catalog, undefined)).toEqual({
      record: record(null, pair(1, 1), pair(2, 1), pair(1, 2)),
      pair: pair(2, 2),
    });
    expect(rolledBack(catalog, 1)).toEqual({
      record: record(null, pair(1, 1), pair(2, 1)),
      pair: pair(1, 2),
    });
  });

  it('do not come back where there are none', () => {
    expect(() => rolledBack(record(pair(1, 1)), undefined)).toThrow(
      expect.objectContaining({ code: 'ESP_ROLLBACK_UNAVAILABLE' }),
    );
    expect(() => rolledBack(record(pair(3, 1), pair(1, 1), pair(2, 1), pair(1, 2)), 3)).toThrow(
      expect.objectContaining({
        code: 'ESP_ROLLBACK_UNAVAILABLE',
        details: [{ field: 'version', expected: 'one of 1, 2', found: '3' }],
      }),
    );
  });
});
