import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import {
  type AttributeSchema,
  CatalogVersionBuilder,
  type EffectiveSet,
  isExcluded,
  LiveCatalog,
  prepareExclusions,
  type SetTruth,
  setHasItem,
  sidOf,
} from '../../src/static-trie/index.js';
import { listTruth } from '../helpers/list-truth.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const schema: AttributeSchema = {
  price: { type: 'double' },
  brand: { type: 'string' },
  tags: { type: 'string[]' },
};
const codebookSizes = [3, 3, 2];

interface Item {
  id: string;
  sid: number[];
  price: number | undefined;
  brand: string | undefined;
  tags: string[] | undefined;
}

/** Each set beside what it means, item by item. */
const sets: Record<string, { truth: SetTruth; has: (item: Item) => boolean }> = {
  cheap: {
    truth: { kind: 'rule', rule: 'price <= 5.0', params: {} },
    has: ({ price }) => price !== undefined && price <= 5,
  },
  acme: {
    truth: { kind: 'rule', rule: 'brand == params.x || !(price > 2.0)', params: { x: 'acme' } },
    has: ({ brand, price }) => brand === 'acme' || (price !== undefined && price <= 2),
  },
  tagged: {
    truth: { kind: 'rule', rule: '"new" in tags && has(item.brand)', params: {} },
    has: ({ tags, brand }) => tags?.includes('new') === true && brand !== undefined,
  },
  listed: {
    truth: listTruth(['i1', 'i5', 'i8', 'i13', 'nobody']),
    has: ({ id }) => ['i1', 'i5', 'i8', 'i13'].includes(id),
  },
  branch: {
    truth: listTruth([[0, 0, 0], [1, 2, 1], [2, 2, 2], [0]]),
    has: ({ sid }) => ['0,0,0', '1,2,1'].includes(sid.join()),
  },
};

function randomItem(random: Random, id: string): Item {
  const maybe = <Value>(value: Value) => (random.chance(0.8) ? value : undefined);
  return {
    id,
    sid: codebookSizes.map((size) => random.below(size)),
    price: maybe(random.below(12)),
    brand: maybe(random.pick(['acme', 'other', 'x'])),
    tags: maybe(random.pick([[], ['new'], ['old', 'new'], ['old']])),
  };
}

function parsed({ id, sid, price, brand, tags }: Item) {
  return { id, sid, attributes: [price, brand, tags] };
}

async function startWith(items: readonly Item[]): Promise<LiveCatalog> {
  const builder = new CatalogVersionBuilder(schema, codebookSizes);
  for (const item of items) builder.add(parsed(item), 1);
  return new LiveCatalog(await builder.build(), schema);
}

/** The ids that a request under a set may get. */
function allowed(catalog: LiveCatalog, { set, excluded }: EffectiveSet): string[] {
  const { version } = catalog.snapshot;
  const exclusions = prepareExclusions(version.leafItems, set, excluded);
  return Array.from({ length: version.ids.length }, (_, item) => item)
    .filter((item) => setHasItem(version.leafItems, set, item) && !isExcluded(exclusions, item))
    .map((item) => version.ids.at(item))
    .sort();
}

function expectState(catalog: LiveCatalog, items: ReadonlyMap<string, Item>): void {
  const { snapshot } = catalog;
  const ids = (has: (item: Item) => boolean) =>
    [...items.values()]
      .filter(has)
      .map(({ id }) => id)
      .sort();
  expect(allowed(catalog, snapshot.effectiveSet(null))).toEqual(ids(() => true));
  for (const name of snapshot.sets.keys()) {
    expect([name, allowed(catalog, snapshot.effectiveSet(name))]).toEqual([name, ids(sets[name].has)]);
  }
  for (const item of items.values()) {
    const number = snapshot.version.ids.find(item.id);
    expect(Array.from(sidOf(snapshot.version, number))).toEqual(item.sid);
    const { id, sid, ...attributes } = item;
    for (const [name, value] of Object.entries(attributes)) {
      expect([id, name, snapshot.valueOf(name, number)]).toEqual([id, name, value]);
    }
  }
}

describe('a live catalog', () => {
  it('is after any changes what it would be if it were built anew', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (caseSeed) => {
        const random = new Random(caseSeed);
        const items = new Map<string, Item>();
        for (let index = 0; index < 1 + random.below(40); index++) {
          const item = randomItem(random, `i${index}`);
          items.set(item.id, item);
        }
        const catalog = await startWith([...items.values()]);
        const builds: Promise<void>[] = [];
        let nextId = 1000;
        /** What a build under way will bring, and what was changed since it began. */
        const coming: Item[] = [];
        for (let step = 0; step < 12; step++) {
          const known = [...items.keys()];
          const some = known.filter(() => random.chance(0.2));
          switch (random.below(5)) {
            case 0: {
              const name = random.pick(Object.keys(sets));
              catalog.putSet(name, sets[name].truth, Date.now());
              break;
            }
            case 1:
              expect(catalog.remove([...some, 'nobody'])).toEqual(['nobody']);
              for (const id of some) items.delete(id);
              break;
            case 2: {
              const updates = some.map((id) => ({
                id,
                attributes: random.chance(0.5) ? { price: random.below(12) } : { brand: null, tags: ['new'] },
              }));
              expect(catalog.update([...updates, { id: 'nobody', attributes: {} }])).toEqual(['nobody']);
              for (const { id, attributes } of updates) {
                const item = items.get(id)!;
                if ('price' in attributes) items.set(id, { ...item, price: attributes.price });
                else items.set(id, { ...item, brand: undefined, tags: ['new'] });
              }
              break;
            }
            case 3: {
              const added = Array.from({ length: 1 + random.below(3) }, () =>
                randomItem(random, `i${nextId++}`),
              );
              coming.push(...added);
              builds.push(catalog.add(added.map(parsed)));
              // Some builds are awaited at once, others run while further changes come.
              if (random.chance(0.5)) break;
              await Promise.all(builds.splice(0));
              for (const item of coming.splice(0)) items.set(item.id, item);
              break;
            }
            case 4:
              await new Promise((resolve) => setImmediate(resolve));
          }
          if (builds.length === 0) expectState(catalog, items);
        }
        await Promise.all(builds);
        for (const item of coming) items.set(item.id, item);
        expectState(catalog, items);
      }),
      seeded('live catalog', 60),
    );
  });

  it('keeps every snapshot as it was', async () => {
    const random = new Random(7);
    const items = Array.from({ length: 30 }, (_, index) => randomItem(random, `i${index}`));
    const catalog = await startWith(items);
    catalog.putSet('cheap', sets.cheap.truth, 0);
    const before = catalog.snapshot;
    const seen = allowed(catalog, before.effectiveSet('cheap'));
    catalog.remove(items.slice(0, 20).map(({ id }) => id));
    catalog.update([{ id: 'i25', attributes: { price: 1, brand: 'new' } }]);
    await catalog.add([parsed(randomItem(random, 'fresh'))]);
    expect(catalog.snapshot.version).not.toBe(before.version);
    const exclusions = before.effectiveSet('cheap');
    const held = Array.from({ length: before.version.ids.length }, (_, item) => item)
      .filter((item) => setHasItem(before.version.leafItems, exclusions.set, item))
      .map((item) => before.version.ids.at(item))
      .sort();
    expect(held).toEqual(seen);
    expect(before.valueOf('brand', before.version.ids.find('i25'))).toBe(items[25].brand);
  });

  it('folds removals into a set once they are many, and then finds them folded', async () => {
    const random = new Random(11);
    const items = new Map(
      Array.from({ length: 1500 }, (_, index) => {
        const item = randomItem(random, `i${index}`);
        return [item.id, item] as const;
      }),
    );
    const catalog = await startWith([...items.values()]);
    catalog.putSet('cheap', sets.cheap.truth, 0);
    const remove = (from: number, to: number) => {
      const ids = Array.from({ length: to - from }, (_, index) => `i${from + index}`);
      catalog.remove(ids);
      for (const id of ids) items.delete(id);
    };
    remove(0, 200);
    expect(catalog.snapshot.effectiveSet('cheap').excluded).toHaveLength(200);
    remove(200, 300);
    const folded = catalog.snapshot.effectiveSet('cheap');
    expect(folded.excluded).toHaveLength(0);
    expect(catalog.snapshot.effectiveSet('cheap').set).toBe(folded.set);
    remove(300, 310);
    expect(catalog.snapshot.effectiveSet('cheap')).toEqual({ set: folded.set, excluded: expect.any(Array) });
    expect(catalog.snapshot.effectiveSet('cheap').excluded).toHaveLength(10);
    expectState(catalog, items);
    const before = catalog.snapshot;
    const seen = allowed(catalog, before.effectiveSet('cheap'));
    remove(310, 1200);
    expectState(catalog, items);
    // Neither a fold of a later snapshot nor one of a sibling may reach an earlier one.
    expect(allowed(catalog, before.effectiveSet('cheap'))).toEqual(seen);
    const left = [...items.keys()];
    const half = before.withRemoved(left.slice(0, 280)).snapshot;
    const other = before.withRemoved(left.slice(10)).snapshot;
    half.effectiveSet('cheap');
    const isCheap = (id: string) => sets.cheap.has(items.get(id)!);
    const cheapLeft = left.slice(0, 10).filter(isCheap).sort();
    const inOther = allowed(catalog, other.effectiveSet('cheap')).filter((id) => left.includes(id));
    expect(inOther).toEqual(cheapLeft);
  });

  it('re-evaluates only the sets that read a changed attribute', async () => {
    const random = new Random(3);
    const catalog = await startWith(
      Array.from({ length: 20 }, (_, index) => randomItem(random, `i${index}`)),
    );
    for (const [name, { truth }] of Object.entries(sets)) catalog.putSet(name, truth, 0);
    const before = catalog.snapshot.sets;
    catalog.update([
      { id: 'i3', attributes: { price: 0.5 } },
      { id: 'i4', attributes: { price: 11 } },
    ]);
    const after = catalog.snapshot.sets;
    for (const name of ['tagged', 'listed', 'branch']) expect(after.get(name)).toBe(before.get(name));
    for (const name of ['cheap', 'acme']) expect(after.get(name)).not.toBe(before.get(name));
  });

  it('stays as it was when a change is refused', async () => {
    const random = new Random(3);
    const catalog = await startWith(Array.from({ length: 5 }, (_, index) => randomItem(random, `i${index}`)));
    const before = catalog.snapshot;
    const code = (expected: string) => expect.objectContaining({ code: expected });
    expect(() => catalog.update([{ id: 'i1', attributes: { colour: 'red' } }])).toThrow(
      code('ESP_ATTRIBUTE_NOT_FOUND'),
    );
    expect(() => catalog.putSet('bad', { kind: 'rule', rule: 'price <', params: {} }, 0)).toThrow(
      EspalierError,
    );
    await expect(catalog.add([parsed(randomItem(random, 'i4'))])).rejects.toThrow(code('ESP_UPLOAD_INVALID'));
    await expect(
      catalog.add([parsed(randomItem(random, 'i9'))], { signal: AbortSignal.abort() }),
    ).rejects.toThrow(code('ESP_CANCELLED'));
    expect(catalog.snapshot).toBe(before);
    await catalog.add([parsed(randomItem(random, 'i9'))]);
    expect(catalog.snapshot.version.ids.length).toBe(6);
  });
});
