import { mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { wordsFor } from '../../src/kernels/index.js';
import {
  constraintSetFromLeaves,
  findLeaf,
  OpenSets,
  openConstraintSetFile,
  setByteLength,
  setHasItem,
  writeConstraintSetFile,
} from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';
import { randomCatalog, randomSet } from '../helpers/random-catalog.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-set-file-'));

function example(seed: number) {
  const random = new Random(seed);
  const catalog = randomCatalog(random);
  return { ...catalog, set: randomSet(random, catalog).set };
}

describe('a constraint-set file', () => {
  it('gives back what was written', () => {
    for (let seed = 0; seed < 40; seed++) {
      const { trie, leafItems, set } = example(seed);
      const path = join(folder, `set-${seed}`);
      writeConstraintSetFile(path, set, 'retail 3');
      expect(openConstraintSetFile(path, trie, leafItems, 'retail 3')).toEqual(set);
    }
  });

  it('is refused over another catalog version, and where a bit is wrong', () => {
    const { trie, leafItems, set } = example(5);
    const path = join(folder, 'guarded');
    writeConstraintSetFile(path, set, 'retail 3');
    const corrupt = (message: string) =>
      expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT', message: expect.stringContaining(message) });
    expect(() => openConstraintSetFile(path, trie, leafItems, 'retail 4')).toThrow(
      corrupt('expected a set of retail 4, found one of retail 3'),
    );
    const other = { ...trie, leafCount: trie.leafCount + 64 };
    expect(() => openConstraintSetFile(path, other, leafItems, 'retail 3')).toThrow(
      corrupt('section leafBits'),
    );
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << (at % 8);
      writeFileSync(path, damaged);
      expect(() => openConstraintSetFile(path, trie, leafItems, 'retail 3')).toThrow(corrupt(''));
    }
    writeFileSync(path, bytes);
    truncateSync(path, bytes.length - 1);
    expect(() => openConstraintSetFile(path, trie, leafItems, 'retail 3')).toThrow(corrupt('bytes'));
  });
});

describe('open sets', () => {
  it('are opened once, counted, and closed with their last user', () => {
    const { set } = example(1);
    const open = new OpenSets();
    let opens = 0;
    const acquire = () =>
      open.acquire('a', () => {
        opens++;
        return set;
      });
    const first = acquire();
    const second = acquire();
    expect([opens, open.count, open.byteLength]).toEqual([1, 1, setByteLength(set)]);
    first.release();
    first.release();
    expect([second.set, open.count]).toEqual([set, 1]);
    second.release();
    expect([open.count, open.byteLength]).toEqual([0, 0]);
    acquire();
    expect(opens).toBe(2);
    expect(() =>
      open.acquire('b', () => {
        throw new Error('damaged');
      }),
    ).toThrow('damaged');
    expect(open.count).toBe(1);
  });
});

describe('leaves', () => {
  it('are found by their SID, and no other', () => {
    for (let seed = 0; seed < 60; seed++) {
      const { trie, sids, leafItems } = example(seed);
      for (const sid of sids) {
        const leaf = findLeaf(trie, sid);
        const start = leaf * trie.levelCount;
        expect(Array.from(trie.rows.subarray(start, start + trie.levelCount))).toEqual(sid);
        const other = sid.map((code, level) => (level === sid.length - 1 ? code + 1 : code));
        const isThere = sids.some((one) => one.join() === other.join());
        expect(findLeaf(trie, other) >= 0).toBe(isThere);
      }
      expect(findLeaf(trie, [])).toBe(-1);
      expect(findLeaf(trie, [...sids[0], 0])).toBe(-1);
      expect(leafItems.leafCount).toBe(trie.leafCount);
    }
  });

  it('bring all their items into a set', () => {
    for (let seed = 0; seed < 60; seed++) {
      const { trie, sids, leafItems } = example(seed);
      const random = new Random(seed);
      const chosen = new Set(
        Array.from({ length: trie.leafCount }, (_, leaf) => leaf).filter(() => random.chance(0.4)),
      );
      const leafBits = new Uint32Array(wordsFor(trie.leafCount));
      for (const leaf of chosen) leafBits[leaf >>> 5] |= 1 << (leaf & 31);
      const set = constraintSetFromLeaves(trie, leafItems, leafBits);
      const inSet = sids.map((_, item) => setHasItem(leafItems, set, item));
      expect(inSet).toEqual(sids.map((sid) => chosen.has(findLeaf(trie, sid))));
      expect(set.itemCount).toBe(inSet.filter(Boolean).length);
    }
  });
});
