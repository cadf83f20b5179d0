import fc from 'fast-check';
import { expect, it } from 'vitest';
import { setBit, wordsFor } from '../../src/kernels/index.js';
import { constraintSetFromItems, constraintSetFromList } from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';
import { randomCatalog } from '../helpers/random-catalog.js';
import { seeded } from '../helpers/seed.js';

it('makes of a list the set that its bits make', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new Random(seed);
      const { sids, trie, leafItems } = randomCatalog(random);
      const count = random.pick([0, 1, 5, 2 * sids.length]);
      const listed = Array.from({ length: count }, () => random.below(sids.length));
      const itemBits = new Uint32Array(wordsFor(sids.length));
      for (const item of listed) setBit(itemBits, item);
      expect(constraintSetFromList(trie, leafItems, listed)).toEqual(
        constraintSetFromItems(trie, leafItems, itemBits),
      );
    }),
    seeded('listed sets', 200),
  );
});
