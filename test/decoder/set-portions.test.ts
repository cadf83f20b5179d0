import { describe, expect, it } from 'vitest';
import type { SetSnapshot } from '../../src/decoder/activation.js';
import { setPortions } from '../../src/decoder/set-portions.js';
import type { ConstraintSet } from '../../src/static-trie/index.js';

const setOf = (words: number): ConstraintSet => ({
  live: { leafBits: new Uint32Array(words), rootMask: new Uint32Array(0), nodeBits: new Uint32Array(0) },
  sharedItemBits: new Uint32Array(0),
  itemCount: 0,
  leafCount: 0,
});
const snapshotOf = (name: string, set: ConstraintSet): SetSnapshot => ({
  name,
  set,
  rule: null,
  changesUpTo: 0,
  catalogVersion: 1,
  version: 1,
  expiresAtMs: null,
});
const namesOf = (portions: SetSnapshot[][]) => portions.map((sets) => sets.map(({ name }) => name).join(' '));

describe('portions of sets', () => {
  it('hold a megabyte, and a larger set alone', () => {
    const snapshots = [5, 400_000, 5, 100_000, 100_000, 100_000].map((words, index) =>
      snapshotOf(String(index), setOf(words)),
    );
    expect(namesOf(setPortions(snapshots))).toEqual(['0', '1', '2 3 4', '5']);
  });

  it('hold few sets, however small', () => {
    const snapshots = Array.from({ length: 40 }, (_, index) => snapshotOf(String(index), setOf(1)));
    expect(setPortions(snapshots).map(({ length }) => length)).toEqual([16, 16, 8]);
  });

  it('keep sets together that share their bitmaps', () => {
    const shared = setOf(100_000);
    const snapshots = [
      snapshotOf('a', shared),
      snapshotOf('b', setOf(400_000)),
      snapshotOf('c', shared),
      snapshotOf('d', setOf(200_000)),
    ];
    expect(namesOf(setPortions(snapshots))).toEqual(['a c', 'b', 'd']);
  });

  it('are none of no sets', () => {
    expect(setPortions([])).toEqual([]);
  });
});
