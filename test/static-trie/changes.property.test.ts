import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { wordsFor } from '../../src/kernels/index.js';
import {
  type AttributeSchema,
  type CatalogChange,
  CatalogSnapshot,
  CatalogVersionBuilder,
  ChangeLog,
  ChangeReader,
  changedAdds,
  constraintSetFromItems,
  type EffectiveSet,
  type ItemUpdate,
  isExcluded,
  prepareExclusions,
  rebuildVersion,
  type SetTruth,
  setHasItem,
  sidOf,
} from '../../src/static-trie/index.js';
import { RemovedItems } from '../../src/static-trie/removed-items.js';
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

const folder = mkdtempSync(join(tmpdir(), 'espalier-changes-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function snapshotOf(items: readonly Item[], after = 0): Promise<CatalogSnapshot> {
  const builder = new CatalogVersionBuilder(schema, codebookSizes);
  for (const item of items) builder.add(parsed(item), 1);
  return CatalogSnapshot.of(await builder.build(), schema, after);
}

/** The ids that a request under a set may get. */
function allowed({ version }: CatalogSnapshot, { set, excluded }: EffectiveSet): string[] {
  const exclusions = prepareExclusions(version.leafItems, set, excluded);
  return Array.from({ length: version.ids.length }, (_, item) => item)
    .filter((item) => setHasItem(version.leafItems, set, item) && !isExcluded(exclusions, item))
    .map((item) => version.ids.at(item))
    .sort();
}

function expectState(snapshot: CatalogSnapshot, items: ReadonlyMap<string, Item>): void {
  const ids = (has: (item: Item) => boolean) =>
    [...items.values()]
      .filter(has)
      .map(({ id }) => id)
      .sort();
  expect(allowed(snapshot, snapshot.effectiveSet(null))).toEqual(ids(() => true));
  for (const name of snapshot.sets.keys()) {
    expect([name, allowed(snapshot, snapshot.effectiveSet(name))]).toEqual([name, ids(sets[name].has)]);
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

type Change = Pick<CatalogChange, 'remove' | 'update'>;

function randomChange(random: Random, known: readonly string[]): Change {
  const some = () => known.filter(() => random.chance(0.15));
  const remove = random.chance(0.5) ? [...some(), 'nobody'] : undefined;
  const update = some().map((id) => ({
    id,
    attributes: random.chance(0.5) ? { price: random.below(12) } : { brand: null, tags: ['new'] },
  }));
  return { ...(remove && { remove }), ...(random.chance(0.7) && { update }) };
}

/** What a change makes of plain items: removals first. */
function applyPlainly(items: Map<string, Item>, { remove = [], update = [] }: Change): void {
  for (const id of remove) items.delete(id);
  for (const { id, attributes } of update) {
    const item = items.get(id);
    if (item === undefined) continue;
    if ('price' in attributes) items.set(id, { ...item, price: attributes.price as number });
    else items.set(id, { ...item, brand: undefined, tags: ['new'] });
  }
}

/** A snapshot to which changes are made as a server makes them. */
class Subject {
  readonly log: ChangeLog;
  readonly path: string;
  snapshot: CatalogSnapshot;
  /** The last change that the snapshot's version has in it. */
  after = 0;

  constructor(path: string, snapshot: CatalogSnapshot) {
    this.path = path;
    this.log = ChangeLog.open(path);
    this.snapshot = snapshot;
  }

  change(change: Change): string[] {
    const entry = this.log.append({ at: '2026-01-01T00:00:00.000Z', ...change });
    const { snapshot, unknown } = this.snapshot.withChanges([entry]);
    this.snapshot = snapshot;
    return unknown;
  }

  /** As after a restart: the version as it is on disk, and all changes at once. */
  replayed(): CatalogSnapshot {
    const changes = new ChangeReader(this.path, this.after).catchUp(this.log.lastSeq);
    return CatalogSnapshot.of(this.snapshot.version, schema, this.after).withChanges(changes).snapshot;
  }
}

describe('a catalog with small changes', () => {
  it('is after any changes, rebuilds and restarts what it would be if it were built anew', async () => {
    let number = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (caseSeed) => {
        const random = new Random(caseSeed);
        const items = new Map<string, Item>();
        for (let index = 0; index < 1 + random.below(40); index++) {
          const item = randomItem(random, `i${index}`);
          items.set(item.id, item);
        }
        const subject = new Subject(join(folder, `${number++}.log`), await snapshotOf([...items.values()]));
        let nextId = 1000;
        for (let step = 0; step < 12; step++) {
          switch (random.below(5)) {
            case 0: {
              const name = random.pick(Object.keys(sets));
              subject.snapshot = subject.snapshot.withSet(name, sets[name].truth, Date.now());
              break;
            }
            case 1:
            case 2: {
              const change = randomChange(random, [...items.keys()]);
              const gone = new Set(change.remove);
              expect(subject.change(change).sort()).toEqual(
                [
                  ...(change.remove?.filter((id) => !items.has(id)) ?? []),
                  ...(change.update ?? []).map(({ id }) => id).filter((id) => gone.has(id)),
                ].sort(),
              );
              applyPlainly(items, change);
              break;
            }
            case 3: {
              const after = subject.log.lastSeq;
              const adds = Array.from({ length: 1 + random.below(3) }, () =>
                randomItem(random, `i${nextId++}`),
              );
              const built = rebuildVersion(subject.snapshot, adds.map(parsed));
              // Changes that come while the version is built are in force at once, and in the version's log.
              const { sets: bound } = subject.snapshot;
              const change = randomChange(random, [...items.keys()]);
              subject.change(change);
              const fresh = CatalogSnapshot.of(await built, schema, after);
              const changes = new ChangeReader(subject.path, after).catchUp(subject.log.lastSeq);
              let next = fresh.withChanges(changes).snapshot;
              for (const name of bound.keys()) next = next.withSet(name, sets[name].truth, 0);
              subject.snapshot = next;
              subject.after = after;
              subject.log.prune(after - random.below(2));
              for (const item of adds) items.set(item.id, item);
              applyPlainly(items, change);
              break;
            }
            case 4: {
              // Sets whose bitmaps are of before are brought up to date.
              const old = subject.snapshot.sets;
              const change = randomChange(random, [...items.keys()]);
              subject.change(change);
              applyPlainly(items, change);
              subject.snapshot = subject.replayed().withBoundSets(old);
              break;
            }
          }
          expectState(subject.snapshot, items);
        }
      }),
      seeded('small changes', 60),
    );
  });

  it('keeps every snapshot as it was', async () => {
    const random = new Random(7);
    const items = Array.from({ length: 30 }, (_, index) => randomItem(random, `i${index}`));
    const before = (await snapshotOf(items)).withSet('cheap', sets.cheap.truth, 0);
    const seen = allowed(before, before.effectiveSet('cheap'));
    const at = '2026-01-01T00:00:00.000Z';
    before.withChanges([
      { seq: 1, at, remove: items.slice(0, 20).map(({ id }) => id) },
      { seq: 2, at, update: [{ id: 'i25', attributes: { price: 1, brand: 'new' } }] },
    ]);
    expect(allowed(before, before.effectiveSet('cheap'))).toEqual(seen);
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
    let snapshot = (await snapshotOf([...items.values()])).withSet('cheap', sets.cheap.truth, 0);
    const without = (from: CatalogSnapshot, remove: string[]) =>
      from.withChanges([{ seq: from.changesUpTo + 1, at: '', remove }]).snapshot;
    const remove = (from: number, to: number) => {
      const ids = Array.from({ length: to - from }, (_, index) => `i${from + index}`);
      snapshot = without(snapshot, ids);
      for (const id of ids) items.delete(id);
    };
    remove(0, 200);
    expect(snapshot.effectiveSet('cheap').excluded).toHaveLength(200);
    remove(200, 300);
    const folded = snapshot.effectiveSet('cheap');
    expect(folded.excluded).toHaveLength(0);
    expect(snapshot.effectiveSet('cheap').set).toBe(folded.set);
    remove(300, 310);
    expect(snapshot.effectiveSet('cheap').set).toBe(folded.set);
    expect(snapshot.effectiveSet('cheap').excluded).toHaveLength(10);
    expectState(snapshot, items);
    // An update makes another set, whose fold goes on from there: what waited before still waits.
    const update = Array.from({ length: 5 }, (_, index) => ({
      id: `i${400 + index}`,
      attributes: { price: 1 },
    }));
    snapshot = snapshot.withChanges([{ seq: snapshot.changesUpTo + 1, at: '', update }]).snapshot;
    applyPlainly(items, { update });
    expect(snapshot.effectiveSet('cheap').set).not.toBe(folded.set);
    expect(snapshot.effectiveSet('cheap').excluded).toHaveLength(10);
    expectState(snapshot, items);
    const before = snapshot;
    const seen = allowed(before, before.effectiveSet('cheap'));
    remove(310, 1200);
    expectState(snapshot, items);
    // Neither a fold of a later snapshot nor one of a sibling may reach an earlier one.
    expect(allowed(before, before.effectiveSet('cheap'))).toEqual(seen);
    const left = [...items.keys()];
    const half = without(before, left.slice(0, 280));
    const other = without(before, left.slice(10));
    half.effectiveSet('cheap');
    const isCheap = (id: string) => sets.cheap.has(items.get(id)!);
    const cheapLeft = left.slice(0, 10).filter(isCheap).sort();
    const inOther = allowed(other, other.effectiveSet('cheap')).filter((id) => left.includes(id));
    expect(inOther).toEqual(cheapLeft);
  });

  it('keeps what was removed out of a carried fold, whatever a rule says of it', async () => {
    const { version } = await snapshotOf(
      Array.from({ length: 600 }, (_, index) => randomItem(new Random(index), `i${index}`)),
    );
    const { trie, leafItems } = version;
    const bits = (count: number) => new Uint32Array(wordsFor(600)).fill(-1, 0, count / 32);
    const [set, next] = [320, 352].map((count) => constraintSetFromItems(trie, leafItems, bits(count)));
    const removed = RemovedItems.none().with(Array.from({ length: 300 }, (_, item) => item));
    expect(removed.takenOutOf(set, version).set!.itemCount).toBe(20);
    removed.carryFold(set, next, new Map(Array.from({ length: 352 }, (_, item) => [item, true])), version);
    expect(removed.takenOutOf(next, version)).toMatchObject({ set: { itemCount: 52 }, excluded: [] });
  });

  it('carries folds on through updates of their sets', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const random = new Random(seed);
        const items = new Map<string, Item>();
        for (let index = 0; index < 1200; index++) items.set(`i${index}`, randomItem(random, `i${index}`));
        let snapshot = await snapshotOf([...items.values()]);
        for (const name of ['cheap', 'acme', 'listed'])
          snapshot = snapshot.withSet(name, sets[name].truth, 0);
        const change = (part: Change) => {
          snapshot = snapshot.withChanges([{ seq: snapshot.changesUpTo + 1, at: '', ...part }]).snapshot;
          applyPlainly(items, part);
        };
        const some = (count: number) => Array.from({ length: count }, () => random.pick([...items.keys()]));
        change({ remove: [...new Set(some(350))] });
        const earlier: { snapshot: CatalogSnapshot; items: Map<string, Item> }[] = [];
        for (let step = 0; step < 12; step++) {
          expectState(snapshot, items);
          if (random.chance(0.3)) earlier.push({ snapshot, items: new Map(items) });
          for (let changes = random.below(4); changes >= 0; changes--) {
            const price = () => ({ price: random.below(12) });
            const update = some(random.pick([1, 3, 300])).map((id) => ({ id, attributes: price() }));
            change(random.chance(0.4) ? { remove: [...new Set(some(random.pick([2, 90])))] } : { update });
          }
        }
        expectState(snapshot, items);
        for (const { snapshot: before, items: then } of earlier) expectState(before, then);
      }),
      seeded('folds through updates', 6),
    );
  });

  it('re-evaluates only the sets that read a changed attribute', async () => {
    const random = new Random(3);
    let before = await snapshotOf(Array.from({ length: 20 }, (_, index) => randomItem(random, `i${index}`)));
    for (const [name, { truth }] of Object.entries(sets)) before = before.withSet(name, truth, 0);
    const changedBy = (attributes: ItemUpdate['attributes']) => {
      const update = Array.from({ length: 20 }, (_, index) => ({ id: `i${index}`, attributes }));
      const { snapshot } = before.withChanges([{ seq: 1, at: '', update }]);
      return [...before.sets.keys()].filter((name) => snapshot.sets.get(name) !== before.sets.get(name));
    };
    expect(changedBy({ price: 0.5 })).toEqual(['cheap', 'acme']);
    expect(changedBy({ tags: null })).toEqual(['tagged']);
    // A set that is evaluated again, and comes to the same, stays what it was.
    const { snapshot } = before.withChanges([
      { seq: 1, at: '', update: [{ id: 'i3', attributes: { tags: null } }] },
    ]);
    const again = snapshot.withChanges([
      { seq: 2, at: '', update: [{ id: 'i3', attributes: { tags: [] } }] },
    ]);
    expect(again.snapshot.sets.get('tagged')).toBe(snapshot.sets.get('tagged'));
  });

  it('passes over changes that are in force already, and leaves sets that know later ones', async () => {
    const random = new Random(5);
    const items = Array.from({ length: 20 }, (_, index) => randomItem(random, `i${index}`));
    const fresh = await snapshotOf(items, 4);
    const update = (price: number) => [{ id: 'i3', attributes: { price } }];
    const changes = [
      { seq: 4, at: '', remove: ['i1'] },
      { seq: 5, at: '', update: update(1) },
      { seq: 6, at: '', update: update(9) },
    ];
    const all = fresh.withChanges(changes).snapshot.withSet('cheap', sets.cheap.truth, 0);
    expect(all.removedCount).toBe(0);
    expect(all.changesUpTo).toBe(6);
    expect(all.withChanges(changes).snapshot.valueOf('price', all.version.ids.find('i3'))).toBe(9);
    // The set was evaluated where i3 costs 9: change 5 must not bring it back.
    const behind = fresh
      .withBoundSet('cheap', all.sets.get('cheap')!)
      .withChanges(changes.slice(0, 2)).snapshot;
    expect(behind.sets.get('cheap')!.set).toBe(all.sets.get('cheap')!.set);
  });

  it('stays as it was when a change is refused', async () => {
    const random = new Random(3);
    const before = await snapshotOf(Array.from({ length: 5 }, (_, index) => randomItem(random, `i${index}`)));
    const code = (expected: string) => expect.objectContaining({ code: expected });
    const colour = [{ id: 'i1', attributes: { colour: 'red' } }];
    expect(() => before.withChanges([{ seq: 1, at: '', remove: ['i0'], update: colour }])).toThrow(
      code('ESP_ATTRIBUTE_NOT_FOUND'),
    );
    expect(before.removedCount).toBe(0);
    expect(() => before.withSet('bad', { kind: 'rule', rule: 'price <', params: {} }, 0)).toThrow(
      code('ESP_RULE_SYNTAX'),
    );
  });
});

describe('new items', () => {
  it('are as the changes that came after them leave them', () => {
    const adds = ['a', 'b', 'c'].map((id) =>
      parsed({ id, sid: [0, 0, 0], price: 1, brand: 'x', tags: ['new'] }),
    );
    const change = (seq: number, part: Partial<CatalogChange>): CatalogChange => ({ seq, at: '', ...part });
    const changes = [
      change(1, { update: [{ id: 'a', attributes: { price: 2, brand: null } }] }),
      change(2, { remove: ['b', 'nobody'], update: [{ id: 'b', attributes: { price: 3 } }] }),
      change(3, { update: [{ id: 'a', attributes: { price: -0 } }] }),
    ];
    const found = changedAdds(adds, changes, schema);
    expect(found.map(({ id, attributes }) => [id, ...attributes])).toEqual([
      ['a', 0, undefined, ['new']],
      ['c', 1, 'x', ['new']],
    ]);
    expect(adds[0].attributes).toEqual([1, 'x', ['new']]);
    const unknown = [change(1, { update: [{ id: 'c', attributes: { prize: 1 } }] })];
    expect(() => changedAdds(adds, unknown, schema)).toThrow('the catalog has no attribute "prize"');
  });
});

describe('rebuilding', () => {
  it('refuses ids that are there, an empty catalog, and goes no further when cancelled', async () => {
    const random = new Random(3);
    const items = Array.from({ length: 5 }, (_, index) => randomItem(random, `i${index}`));
    const whole = await snapshotOf(items);
    const remove = (...ids: string[]) => whole.withChanges([{ seq: 1, at: '', remove: ids }]).snapshot;
    const again = parsed(randomItem(random, 'i4'));
    await expect(rebuildVersion(whole, [again])).rejects.toMatchObject({ code: 'ESP_UPLOAD_INVALID' });
    await expect(rebuildVersion(whole, [], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ESP_CANCELLED',
    });
    const none = remove(...items.map(({ id }) => id));
    await expect(rebuildVersion(none, [])).rejects.toMatchObject({ code: 'ESP_UPLOAD_EMPTY' });
    // An id that was removed may come again.
    const version = await rebuildVersion(remove('i4', 'i0'), [again]);
    expect(version.ids.length).toBe(4);
    expect(Array.from(sidOf(version, version.ids.find('i4')))).toEqual(again.sid);
  });
});
