import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BitOperation, isBitSet, leafOfItem, type SetAlgebra } from '../../src/kernels/index.js';
import {
  type ConstraintSet,
  combineSets,
  constraintSetFromLeaves,
  countLiveNodes,
  prepareExclusions,
  setHasItem,
} from '../../src/static-trie/index.js';
import { patchSet } from '../../src/static-trie/patch-set.js';
import { everySetAlgebra } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { type RandomCatalog, randomCatalog, randomSet } from '../helpers/random-catalog.js';
import { seeded } from '../helpers/seed.js';

describe.each(everySetAlgebra)('constraint sets, $name', ({ sets }) => {
  it('hold exactly their items, leaves and nodes', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const catalog = randomCatalog(random);
        const { allowed, set } = randomSet(random, catalog, sets);
        expectSet(catalog, set, allowed, sets);
        const { leafBits } = set.live;
        const onLiveLeaves = allowed.map((_, item) =>
          isBitSet(leafBits, leafOfItem(catalog.leafItems, item)),
        );
        const whole = constraintSetFromLeaves(catalog.trie, catalog.leafItems, leafBits, sets);
        expectSet(catalog, whole, onLiveLeaves, sets);
      }),
      seeded('constraint sets', 150),
    );
  });

  it('combine item by item, also where two sets meet on a leaf without a common item', () => {
    const operations: Record<BitOperation, (a: boolean, b: boolean) => boolean> = {
      and: (a, b) => a && b,
      or: (a, b) => a || b,
      andNot: (a, b) => a && !b,
    };
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const catalog = randomCatalog(random);
        const { trie, leafItems } = catalog;
        const a = randomSet(random, catalog, sets);
        const b = randomSet(random, catalog, sets);
        for (const [operation, combined] of Object.entries(operations)) {
          const expected = a.allowed.map((isAllowed, item) => combined(isAllowed, b.allowed[item]));
          const set = combineSets(operation as BitOperation, trie, leafItems, a.set, b.set, sets);
          expectSet(catalog, set, expected, sets);
        }
      }),
      seeded('combinations', 150),
    );
  });

  it('are patched, item by item or whole, to what they would be if they were made anew', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const catalog = randomCatalog(random);
        const { trie, leafItems } = catalog;
        const { allowed, set } = randomSet(random, catalog, sets);
        const share = random.pick([0.02, 0.3, 1]);
        const items = allowed.map((_, item) => item).filter(() => random.chance(share));
        const members = new Map(items.map((item) => [item, random.chance(0.5)]));
        const expected = allowed.map((isAllowed, item) => members.get(item) ?? isAllowed);
        for (const manyMembers of [0, Infinity]) {
          const patched = patchSet(trie, leafItems, set, members, sets, manyMembers);
          expectSet(catalog, patched, expected, sets);
          expect(patched === set).toBe(expected.every((isIn, item) => isIn === allowed[item]));
        }
        // The one that was patched stays as it was.
        expectSet(catalog, set, allowed, sets);
      }),
      seeded('patches', 150),
    );
  });

  it('lose a leaf to exclusions only when no allowed item remains on it', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const catalog = randomCatalog(random);
        const chosen = random.chance(0.8) ? randomSet(random, catalog, sets) : null;
        const isAllowed = (item: number) => chosen?.allowed[item] ?? true;
        const items = catalog.sids.map((_, item) => item);
        const excluded = items.filter(() => random.chance(0.4));
        const { dead, excludedFromSet } = prepareExclusions(
          catalog.leafItems,
          chosen?.set ?? null,
          // In no order, and some twice.
          [...excluded.filter(() => random.chance(0.3)).reverse(), ...excluded],
          sets,
        );
        const expected = Array.from({ length: catalog.trie.leafCount }, (_, leaf) => leaf).filter((leaf) => {
          const live = items.filter(
            (item) => leafOfItem(catalog.leafItems, item) === leaf && isAllowed(item),
          );
          return live.length > 0 && live.every((item) => excluded.includes(item));
        });
        expect(Array.from(dead.leaves)).toEqual(expected);
        expect(excludedFromSet).toBe(excluded.filter(isAllowed).length);
      }),
      seeded('exclusions', 150),
    );
  });
});

function expectSet(catalog: RandomCatalog, set: ConstraintSet, allowed: boolean[], sets: SetAlgebra): void {
  const { trie, leafItems, sids } = catalog;
  const liveSids = sids.filter((_, item) => allowed[item]).map((sid) => sid.join());
  expect(allowed.map((_, item) => setHasItem(leafItems, set, item))).toEqual(allowed);
  expect(set.itemCount).toBe(allowed.filter(Boolean).length);
  expect(set.leafCount).toBe(new Set(liveSids).size);
  const liveSidList = sids.filter((_, item) => allowed[item]);
  const livePrefixes = Array.from(
    { length: trie.levelCount },
    (_, level) => new Set(liveSidList.map((sid) => sid.slice(0, level + 1).join())).size,
  );
  expect(countLiveNodes(trie, set, sets)).toEqual(livePrefixes);
  for (let code = 0; code < trie.codebookSizes[0]; code++) {
    expect(isBitSet(set.live.rootMask, code)).toBe(liveSidList.some((sid) => sid[0] === code));
  }
  trie.topLevels[1]?.leafStart.slice(0, -1).forEach((leaf, node) => {
    const prefix = Array.from(trie.rows.subarray(leaf * trie.levelCount, leaf * trie.levelCount + 2));
    const isLive = liveSidList.some((sid) => sid[0] === prefix[0] && sid[1] === prefix[1]);
    expect(isBitSet(set.live.nodeBits, node)).toBe(isLive);
  });
}
