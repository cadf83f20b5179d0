import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  allBits,
  countBits,
  isBitSet,
  nextSetBit,
  previousSetBit,
  setBit,
  wordsFor,
} from '../../src/kernels/index.js';
import { seeded } from '../helpers/seed.js';

describe('bit arrays', () => {
  it('agree with lists of numbers', () => {
    const place = fc.integer({ min: 0, max: 200 });
    fc.assert(
      fc.property(fc.uniqueArray(place), place, place, (set, a, b) => {
        const [from, to] = a < b ? [a, b] : [b, a];
        const words = new Uint32Array(wordsFor(201));
        for (const bit of set) setBit(words, bit);
        const inside = set.filter((bit) => bit >= from && bit < to).sort((x, y) => x - y);
        expect(countBits(words, from, to)).toBe(inside.length);
        expect(nextSetBit(words, from, to)).toBe(inside[0] ?? to);
        const upTo = set.filter((bit) => bit >= from && bit <= to).sort((x, y) => x - y);
        expect(previousSetBit(words, from, to)).toBe(upTo.at(-1) ?? -1);
        expect(isBitSet(words, from)).toBe(set.includes(from));
      }),
      seeded('bit arrays', 2_000),
    );
  });

  it.each([0, 1, 31, 32, 33, 64, 65])('has exactly %i bits set of as many', (count) => {
    const words = allBits(count);
    expect(countBits(words, 0, words.length * 32)).toBe(count);
    expect(words.length % 2).toBe(0);
  });
});
