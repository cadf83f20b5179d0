import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isBitSet } from '../../src/kernels/index.js';
import { StringTable } from '../../src/static-trie/string-table.js';
import { stringsContaining, stringsEndingWith } from '../../src/static-trie/text-search.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const letters = ['a', 'b', 'é', '€', '😀', '\u0000', 'aa', 'ab'];

function randomText(random: Random, most: number): string {
  return Array.from({ length: random.below(most + 1) }, () => random.pick(letters)).join('');
}

describe('the search in a table of strings', () => {
  it('finds what String.includes and String.endsWith find', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const strings = Array.from({ length: random.below(30) }, () => randomText(random, 6));
        const text = random.pick(letters) + randomText(random, 2);
        const table = StringTable.of(strings);
        const containing = stringsContaining(table, text);
        const ending = stringsEndingWith(table, text);
        strings.forEach((string, index) => {
          expect([string, text, isBitSet(containing, index)]).toEqual([string, text, string.includes(text)]);
          expect([string, text, isBitSet(ending, index)]).toEqual([string, text, string.endsWith(text)]);
        });
      }),
      seeded('text search', 3000),
    );
  });

  it('does not take a match that reaches into the next string', () => {
    const bits = stringsContaining(StringTable.of(['xa', 'b', 'ab', '', 'a', 'bab']), 'ab');
    expect(bits[0]).toBe(0b100100);
  });
});
