import fc from 'fast-check';
import { expect, it } from 'vitest';
import { setBit, wordsFor } from '../../src/kernels/index.js';
import { sampleItems } from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

it('takes items of a set at equal distances', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const random = new Random(seed);
      const bitCount = random.below(400);
      const density = random.pick([0, 0.02, 0.3, 1]);
      const items = Array.from({ length: bitCount }, (_, item) => item).filter(() => random.chance(density));
      const bits = new Uint32Array(wordsFor(bitCount));
      for (const item of items) setBit(bits, item);
      const size = 1 + random.below(12);
      const count = Math.min(size, items.length);
      const expected = Array.from({ length: count }, (_, index) => {
        return items[Math.floor((index * items.length) / count)];
      });
      expect(sampleItems(bits, items.length, size)).toEqual(expected);
    }),
    seeded('samples of sets', 1000),
  );
});
