import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isBitSet } from '../../src/kernels/index.js';
import { buildStaticTrie, leafRanksOfRows } from '../../src/static-trie/index.js';
import { compareCodes } from '../helpers/brute-force.js';
import { Random } from '../helpers/random.js';
import { randomCatalog } from '../helpers/random-catalog.js';
import { seeded } from '../helpers/seed.js';

describe('the static trie', () => {
  it('sorts rows, drops duplicates and says where each row went', () => {
    const built = buildStaticTrie({
      codebookSizes: [3, 4],
      rowCount: 5,
      codes: Uint16Array.of(2, 1, 0, 3, 2, 1, 0, 0, 2, 0),
    });
    const { trie, sortedRows, leafItems } = built;
    expect(Array.from(trie.rows)).toEqual([0, 0, 0, 3, 2, 0, 2, 1]);
    expect(Array.from(leafRanksOfRows(built))).toEqual([3, 1, 3, 0, 2]);
    expect([leafItems.itemCount, leafItems.leafCount]).toEqual([5, 4]);
    expect(Array.from(leafItems.sharedLeaves)).toEqual([3]);
    expect(Array.from(leafItems.sharedStart)).toEqual([0, 2]);
    expect(Array.from(sortedRows)).toEqual([3, 1, 4, 0, 2]);
    expect(trie.newPrefix.map((bits) => bits[0])).toEqual([0b10101, 0b11111]);
    const [roots, nodes] = trie.topLevels;
    expect([roots.codes, roots.leafStart, roots.firstChild].map((array) => Array.from(array!))).toEqual([
      [0, 2],
      [0, 2, 4],
      [0, 2, 4],
    ]);
    expect([nodes.codes, nodes.leafStart].map((array) => Array.from(array))).toEqual([
      [0, 3, 0, 1],
      [0, 1, 2, 3, 4],
    ]);
  });

  it('holds exactly the distinct SIDs, sorted, with a bit where each prefix begins', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const { sids, trie } = randomCatalog(new Random(caseSeed));
        const distinct = [...new Map(sids.map((sid) => [sid.join(), sid])).values()].sort(compareCodes);
        expect(Array.from(trie.rows)).toEqual(distinct.flat());
        for (let level = 0; level < trie.levelCount; level++) {
          distinct.forEach((sid, leaf) => {
            const before = distinct[leaf - 1];
            const begins =
              before === undefined || compareCodes(sid.slice(0, level + 1), before.slice(0, level + 1)) !== 0;
            expect(isBitSet(trie.newPrefix[level], leaf)).toBe(begins);
          });
          expect(isBitSet(trie.newPrefix[level], distinct.length)).toBe(true);
        }
        trie.topLevels.forEach(({ codes, leafStart }, level) => {
          codes.forEach((code, node) => {
            expect(distinct[leafStart[node]][level]).toBe(code);
          });
          expect(leafStart.at(-1)).toBe(distinct.length);
        });
      }),
      seeded('static trie', 300),
    );
  });

  it('takes u32 rows where a codebook exceeds 65,536', () => {
    const { trie } = buildStaticTrie({
      codebookSizes: [2, 262_144],
      rowCount: 2,
      codes: Uint32Array.of(1, 262_143, 0, 5),
    });
    expect(trie.rows).toBeInstanceOf(Uint32Array);
    expect(Array.from(trie.rows)).toEqual([0, 5, 1, 262_143]);
  });

  it.each([
    [[3], Uint16Array.of(3), 'row 0, level 0: code 3 must be < codebook size 3'],
    [[3, 3], Uint16Array.of(1), '1 rows of 2 codes need 2 entries, found 1'],
    [[], new Uint16Array(0), 'levels must be 1 to 32, found 0'],
    [[262_145], Uint32Array.of(1), 'codebook sizes must be 1 to 262144, found 262145'],
  ])('refuses %j with %j', (codebookSizes, codes, message) => {
    expect(() => buildStaticTrie({ codebookSizes, rowCount: 1, codes })).toThrow(
      expect.objectContaining({ code: 'ESP_SHAPE', message }),
    );
  });
});
