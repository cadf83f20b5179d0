import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import type { TopLevel, TrieArrays } from '../../src/kernels/index.js';
import { buildStaticTrie } from '../../src/static-trie/index.js';
import { verifyTrie } from '../../src/static-trie/verify-trie.js';
import { Random } from '../helpers/random.js';
import { randomCatalog } from '../helpers/random-catalog.js';
import { seeded } from '../helpers/seed.js';

function smallTrie(): TrieArrays {
  return buildStaticTrie({
    codebookSizes: [3, 4, 5],
    rowCount: 4,
    codes: Uint16Array.from([0, 1, 2, 0, 1, 4, 2, 0, 0, 2, 3, 0]),
  }).trie;
}

describe('verifying a trie', () => {
  it.each<[string, (trie: TrieArrays) => void, RegExp]>([
    [
      'a code outside its codebook',
      ({ rows }) => rows.fill(5, 2, 3),
      /level 2, leaf 0: code 5 must be < codebook/,
    ],
    ['rows that descend', ({ rows }) => rows.fill(1, 5, 6), /level 2, leaf 1: code 1 must be >= 2/],
    ['a row twice', ({ rows }) => rows.fill(2, 5, 6), /level 2, leaf 1: newPrefix must be clear/],
    [
      'a missing bit',
      ({ newPrefix }) => newPrefix[2].fill(0b11101, 0, 1),
      /level 2, leaf 1: newPrefix must be set/,
    ],
    [
      'a bit too many',
      ({ newPrefix }) => newPrefix[0].fill(0b10111, 0, 1),
      /level 0, leaf 1: newPrefix must be clear/,
    ],
    [
      'no last bit',
      ({ newPrefix }) => newPrefix[1].fill(0b01101, 0, 1),
      /level 1, leaf 4: newPrefix must be set/,
    ],
    [
      'a bit behind the last',
      ({ newPrefix }) => newPrefix[1].fill(2, 1),
      /level 1, leaf 33: newPrefix must be clear/,
    ],
    [
      'another top code',
      ({ topLevels }) => topLevels[1].codes.fill(2, 1, 2),
      /level 1, leaf 2: node 1 must have code 0/,
    ],
    [
      'a top node elsewhere',
      ({ topLevels }) => topLevels[0].leafStart.fill(1, 1, 2),
      /level 0, leaf 2: node 1 must begin/,
    ],
    [
      'another first child',
      ({ topLevels }) => topLevels[0].firstChild!.fill(2, 1, 2),
      /level 0, leaf 2: the first child/,
    ],
    [
      'a first child that is not there',
      ({ topLevels }) => topLevels[0].firstChild!.fill(9, 2),
      /level 0, leaf 4/,
    ],
    [
      'a mask without a child',
      ({ childMasks }) => childMasks!.bits.fill(0, 0, 1),
      /level 1, leaf 0: the child mask of node 0 must have its children/,
    ],
    [
      'a mask with other ranks',
      ({ childMasks }) => childMasks!.ranks.fill(1, 1, 2),
      /level 1, leaf 2: the child mask of node 1 must have its children/,
    ],
    ['a mask twice', ({ childMasks }) => childMasks!.nodes.fill(0), /nodes must ascend below 2/],
    ['a mask of no node', ({ childMasks }) => childMasks!.nodes.fill(2, 1), /nodes must ascend below 2/],
  ])('refuses %s', (_, damage, message) => {
    const trie = smallTrie();
    verifyTrie(trie);
    damage(trie);
    expect(() => verifyTrie(trie)).toThrow(message);
    expect(() => verifyTrie(trie)).toThrow(expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }));
  });

  it('refuses arrays of other lengths', () => {
    const trie = smallTrie();
    const [roots, nodes] = trie.topLevels;
    const flat = buildStaticTrie({ codebookSizes: [3], rowCount: 2, codes: Uint16Array.of(0, 2) }).trie;
    const shorter = [
      { ...trie, rows: trie.rows.subarray(3) },
      { ...trie, newPrefix: trie.newPrefix.slice(1) },
      { ...trie, newPrefix: trie.newPrefix.map((bits) => bits.subarray(1)) },
      { ...trie, topLevels: [roots] },
      { ...flat, topLevels: [withoutLastNode(flat.topLevels[0])] },
      { ...trie, childMasks: { ...trie.childMasks!, bits: new Uint32Array(2) } },
      { ...trie, childMasks: { ...trie.childMasks!, ranks: new Uint32Array(4) } },
      { ...trie, topLevels: [{ ...roots, firstChild: null }, nodes] },
      { ...trie, topLevels: [roots, { ...nodes, codes: nodes.codes.subarray(1) }] },
      {
        ...trie,
        topLevels: [
          roots,
          { codes: nodes.codes.subarray(1), leafStart: nodes.leafStart.subarray(1), firstChild: null },
        ],
      },
    ];
    for (const one of shorter) {
      expect(() => verifyTrie(one)).toThrow(expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }));
    }
  });

  it('passes exactly what building from its rows gives', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: -2, max: 2 }),
        (seed, array, entry, change) => {
          const { trie } = randomCatalog(new Random(seed));
          const arrays = [
            trie.rows,
            ...trie.newPrefix,
            ...trie.topLevels.flatMap(({ codes, leafStart, firstChild }) => [
              codes,
              leafStart,
              firstChild ?? codes,
            ]),
            trie.childMasks?.bits ?? trie.rows,
            trie.childMasks?.ranks ?? trie.rows,
          ];
          const chosen = arrays[array % arrays.length];
          chosen[entry % chosen.length] += change;
          expect(isConsistent(trie)).toBe(isBuiltFromItsRows(trie));
        },
      ),
      seeded('damaged tries', 2_000),
    );
  });
});

function withoutLastNode({ codes, leafStart, firstChild }: TopLevel): TopLevel {
  return { codes: codes.slice(0, -1), leafStart: leafStart.slice(0, -1), firstChild };
}

function isConsistent(trie: TrieArrays): boolean {
  try {
    verifyTrie(trie);
    return true;
  } catch (thrown) {
    if (thrown instanceof EspalierError && thrown.code === 'ESP_ARTIFACT_CORRUPT') return false;
    throw thrown;
  }
}

function isBuiltFromItsRows(trie: TrieArrays): boolean {
  const { codebookSizes, leafCount: rowCount, rows: codes } = trie;
  try {
    expect(buildStaticTrie({ codebookSizes, rowCount, codes }).trie).toEqual(trie);
    return true;
  } catch {
    return false;
  }
}
