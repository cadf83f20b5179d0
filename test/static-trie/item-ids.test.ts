import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildItemIds, ItemIds } from '../../src/static-trie/item-ids.js';
import { hashBytes, StringTable } from '../../src/static-trie/string-table.js';
import { seeded } from '../helpers/seed.js';

const anyId = fc.oneof(
  fc.string({ minLength: 1, maxLength: 20 }),
  fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' }),
  fc.nat().map((number) => `item-${number}`),
);

describe('item ids', () => {
  it('are found, each at its item, and no other string is', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyId, { maxLength: 300 }),
        fc.array(anyId, { maxLength: 50 }),
        fc.nat(2 ** 32 - 1),
        (texts, others, seed) => {
          const ids = buildItemIds(StringTable.of(texts), seed);
          expect(ids.length).toBe(texts.length);
          expect(texts.map((_, item) => ids.at(item))).toEqual(texts);
          for (const text of [...texts, ...others, '', ...texts.map((text) => `${text}x`)]) {
            expect(ids.find(text)).toBe(texts.indexOf(text));
          }
        },
      ),
      seeded('item ids', 500),
    );
  });

  it('are found when their hashes are equal', () => {
    const { first, second, seed } = collision();
    expect(hashOf(first, seed)).toBe(hashOf(second, seed));
    const texts = ['a', second, 'b', first, 'c'];
    const ids = buildItemIds(StringTable.of(texts), seed);
    for (const [item, text] of texts.entries()) expect(ids.find(text)).toBe(item);
    // One of the two alone: the other has its hash, and is not there.
    expect(buildItemIds(StringTable.of([first]), seed).find(second)).toBe(-1);
  });

  it('have a column of hashes that ascends, equal ones by item', () => {
    const { first, second, seed } = collision();
    const texts = [...Array.from({ length: 3_000 }, (_, index) => `id ${index}`), second, first];
    const { hashes, items } = buildItemIds(StringTable.of(texts), seed);
    const expected = texts
      .map((text, item) => ({ hash: hashOf(text, seed), item }))
      .sort((a, b) => a.hash - b.hash || a.item - b.item);
    expect([...hashes]).toEqual(expected.map(({ hash }) => hash));
    expect([...items]).toEqual(expected.map(({ item }) => item));
  });

  it('are found whatever the spread of the hashes', () => {
    // Nearly all hashes in one corner: guesses between neighbours lead nowhere.
    const texts = Array.from({ length: 20_000 }, (_, index) => `${index}`)
      .map((text) => ({ text, hash: hashOf(text, 7) }))
      .filter(({ hash }, index) => hash < 2 ** 24 || hash >= 2 ** 32 - 2 ** 22 || index < 3)
      .map(({ text }) => text);
    const ids = buildItemIds(StringTable.of(texts), 7);
    for (const [item, text] of texts.entries()) expect(ids.find(text)).toBe(item);
  });

  it('do not take half a surrogate pair for the character that replaces it', () => {
    const ids = buildItemIds(StringTable.of(['\ufffd', 'a\ufffd']));
    expect(ids.find('\ufffd')).toBe(0);
    expect(ids.find('\ud800')).toBe(-1);
    expect(ids.find('a\udfff')).toBe(-1);
  });

  it('may be none', () => {
    const ids = buildItemIds(StringTable.of([]));
    expect(ids.length).toBe(0);
    expect(ids.find('')).toBe(-1);
    expect(ids.find('a')).toBe(-1);
  });

  it('refuse a hash column that names an item that is not there', () => {
    const { strings, hashes, seed } = buildItemIds(StringTable.of(['a', 'b']), 1);
    const damaged = new ItemIds(strings, hashes, Uint32Array.from([2, 2]), seed);
    expect(() => damaged.find('a')).toThrow(expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }));
  });
});

function hashOf(text: string, seed: number): number {
  const utf8 = Buffer.from(text);
  return hashBytes(utf8, 0, utf8.length, seed);
}

/** Two texts of one hash: among 300,000 there are about ten pairs. */
function collision(): { first: string; second: string; seed: number } {
  const seed = 12_345;
  const textOfHash = new Map<number, string>();
  for (let number = 0; number < 3_000_000; number++) {
    const second = `collides ${number}`;
    const hash = hashOf(second, seed);
    const first = textOfHash.get(hash);
    if (first !== undefined) return { first, second, seed };
    textOfHash.set(hash, second);
  }
  throw new Error('no two texts of one hash');
}
