import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ItemSubset, jsSets, wordsFor } from '../../src/kernels/index.js';
import { buildStaticTrie } from '../../src/static-trie/index.js';
import { nativeKernels, noNative } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { randomRows } from '../helpers/random-rows.js';
import { seeded } from '../helpers/seed.js';

function randomBits(random: Random, count: number): Uint32Array {
  const probability = random.pick([0, 0.001, 0.1, 0.5, 0.99, 1]);
  const bits = new Uint32Array(wordsFor(count));
  for (let bit = 0; bit < count; bit++) if (random.chance(probability)) bits[bit >>> 5] |= 1 << (bit & 31);
  return bits;
}

/** Results as text, so that two that differ in one bit, or in the kind of an array, are seen. */
function shown(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner instanceof Uint32Array
      ? Buffer.from(inner.buffer, inner.byteOffset, inner.byteLength).toString('hex')
      : inner,
  );
}

describe.skipIf(noNative)('the native set algebra against the js one', () => {
  it.each(nativeKernels.map((kernel) => [kernel.name, kernel] as const))(
    'sets the same bits over tries of any shape, %s',
    (name, { sets }) => {
      fc.assert(
        fc.property(fc.integer(), (caseSeed) => {
          const random = new Random(caseSeed);
          const { trie, leafItems } = buildStaticTrie(randomRows(random));
          const subsets: ItemSubset[] = [];
          for (const itemBits of [
            randomBits(random, leafItems.itemCount),
            randomBits(random, leafItems.itemCount),
          ]) {
            const subset = sets.subsetOf(leafItems, itemBits);
            expect(shown(subset)).toBe(shown(jsSets.subsetOf(leafItems, itemBits)));
            subsets.push(subset);
          }
          const [a, b] = subsets;
          for (const operation of ['and', 'or', 'andNot'] as const) {
            const combined = {
              leafBits: sets.combine(operation, a.leafBits, b.leafBits),
              sharedItemBits: sets.combine(operation, a.sharedItemBits, b.sharedItemBits),
            };
            const reference = {
              leafBits: jsSets.combine(operation, a.leafBits, b.leafBits),
              sharedItemBits: jsSets.combine(operation, a.sharedItemBits, b.sharedItemBits),
            };
            expect(shown(combined)).toBe(shown(reference));
            const liveCount = sets.settleSharedLeaves(leafItems, combined);
            expect(liveCount).toBe(jsSets.settleSharedLeaves(leafItems, reference));
            expect(shown(combined)).toBe(shown(reference));
          }
          const { leafBits } = a;
          expect(sets.count(leafBits, trie.leafCount)).toBe(jsSets.count(leafBits, trie.leafCount));
          expect(shown(sets.deriveLiveLeaves(trie, leafBits))).toBe(
            shown(jsSets.deriveLiveLeaves(trie, leafBits)),
          );
          expect(sets.countLiveNodes(trie, leafBits)).toEqual(jsSets.countLiveNodes(trie, leafBits));
          const excluded = Uint32Array.from(
            Array.from({ length: leafItems.itemCount }, (_, item) => item).filter(() => random.chance(0.3)),
          );
          for (const subset of [a, null]) {
            expect(shown(sets.findDeadLeaves(leafItems, excluded, subset))).toBe(
              shown(jsSets.findDeadLeaves(leafItems, excluded, subset)),
            );
          }
        }),
        seeded(`native sets, ${name}`, 150),
      );
    },
  );
});
