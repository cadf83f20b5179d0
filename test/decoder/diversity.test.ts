import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import {
  activate,
  newEngine,
  type PlainItem,
  randomItems,
  smallSchema,
  writeItems,
} from '../helpers/small-catalog.js';

const { seed } = seeded('diversity', 1);
const random = new Random(seed!);
const items = randomItems(random, 120);
const engine = newEngine();

beforeAll(async () => {
  const { path } = await writeItems(items, [256, 256, 256]);
  await activate(engine, 'small', path, modelFolder('retail-logits'));
});
afterAll(() => engine.close());

type Attribute = 'genre' | 'tags' | 'price' | 'since';

/** What an item counts for: no value at all is a value, too. */
function valuesOf(item: PlainItem, attribute: Attribute): unknown[] {
  const value = item[attribute];
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return ['no value'];
  return Array.isArray(value) ? [...new Set(value)] : [value];
}

function greedy(ids: readonly string[], attribute: Attribute, max: number, k: number): string[] {
  const taken: unknown[] = [];
  const kept: string[] = [];
  for (const id of ids) {
    const values = valuesOf(items.find((item) => item.id === id)!, attribute);
    const isFull = values.some((value) => taken.filter((other) => other === value).length >= max);
    if (isFull || kept.length === k) continue;
    kept.push(id);
    taken.push(...values);
  }
  return kept;
}

describe('diversity', () => {
  it.each(Object.keys(smallSchema) as Attribute[])(
    'takes the best items greedily, by %s',
    async (attribute) => {
      const history = [items[8].id];
      for (const [k, max, beamWidth] of [
        [5, 1, 50],
        [10, 2, 50],
        [12, 4, 120],
        [3, 3, 3],
      ]) {
        const free = await engine.recommend(query({ catalog: 'small', history, k: 120, beamWidth }));
        const expected = greedy(
          free.items.map(({ id }) => id),
          attribute,
          max,
          k,
        );
        const found = await engine.recommend(
          query({ catalog: 'small', history, k, beamWidth, diversity: { attribute, max } }),
        );
        expect(found.items.map(({ id }) => id)).toEqual(expected);
        expect(found.complete).toBe(expected.length === k);
        expect(found.shortfall?.code).toBe(expected.length < k ? 'ESP_SHORTFALL_DIVERSITY' : undefined);
      }
    },
  );

  it('says how many items gave way, and whether a wider beam may help', async () => {
    const request = { catalog: 'small', k: 20, diversity: { attribute: 'genre', max: 1 } };
    const narrow = await engine.recommend(query({ ...request, beamWidth: 20 }));
    expect(narrow.shortfall!.message).toMatch(
      /^\d+ of 120 allowed items were found, but at most 1 of each genre leaves [1-4]; a wider beam may find more$/,
    );
    const all = await engine.recommend(query({ ...request, beamWidth: 120 }));
    expect(all.shortfall!.message).toBe(
      '120 of 120 allowed items were found, but at most 1 of each genre leaves 4',
    );
  });

  it('blames what is to blame: few allowed items that are all different are few, not alike', async () => {
    const include = ['art', 'book'].map((genre) => items.find((item) => item.genre === genre)!.id);
    const diversity = { attribute: 'genre', max: 1 };
    const few = await engine.recommend(query({ catalog: 'small', constraint: { include }, diversity }));
    expect(few.shortfall?.code).toBe('ESP_SHORTFALL_FEW_ALLOWED');
    const none = await engine.recommend(query({ catalog: 'small', constraint: { include: [] }, diversity }));
    expect(none.shortfall?.code).toBe('ESP_SHORTFALL_NOTHING_ALLOWED');
    const narrow = await engine.recommend(
      query({ catalog: 'small', k: 60, beamWidth: [1, 1, 60], diversity: { attribute: 'genre', max: 60 } }),
    );
    expect(narrow.shortfall?.code).toBe('ESP_SHORTFALL_BEAM');
  });

  it('refuses an attribute that the catalog does not have', async () => {
    const diversity = { attribute: 'colour', max: 1 };
    await expect(engine.recommend(query({ catalog: 'small', diversity }))).rejects.toMatchObject({
      code: 'ESP_ATTRIBUTE_NOT_FOUND',
      details: [
        { field: 'diversity.attribute', expected: expect.stringContaining('genre'), found: 'colour' },
      ],
    });
  });
});
