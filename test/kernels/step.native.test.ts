import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizations, type StepRequest, setBit, wordsFor } from '../../src/kernels/index.js';
import { buildTrie, constraintSetFromItems } from '../../src/static-trie/index.js';
import { compareRandomSteps, compareSteps } from '../helpers/compare-steps.js';
import { nativeSteps, noNative } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const MAX_LOGITS = 1 << 20;

describe.skipIf(noNative)('the native step against the js one', () => {
  it.each(nativeSteps)(
    'keeps the same children in the same order, $name, $threads threads',
    ({ name, step }) => {
      fc.assert(
        fc.property(fc.integer(), (caseSeed) => {
          compareRandomSteps(new Random(caseSeed), step, MAX_LOGITS);
        }),
        seeded(`native step, ${name}`, 14),
      );
    },
  );

  it.each(nativeSteps)(
    'does so where nodes have child masks and sets leave few of their children, $name, $threads threads',
    async ({ name, step }) => {
      const codebookSizes = [500, 600, 20];
      const made = new Random(1);
      const codes = Uint16Array.from({ length: 120_000 }, (_, index) => made.below(codebookSizes[index % 3]));
      // Only the native builder makes masks.
      const built = await buildTrie({ codebookSizes, rowCount: 40_000, codes }, { threads: 1 });
      expect(built.trie.childMasks!.nodes.length).toBeGreaterThan(50);
      fc.assert(
        fc.property(fc.integer(), (caseSeed) => {
          const random = new Random(caseSeed);
          const widthOf = () => random.pick([1, 3, 8, 20, 60]);
          const requests = Array.from({ length: 2 }, (): StepRequest => {
            const probability = random.pick([0.0005, 0.005, 0.05, 0.5, 1]);
            const itemBits = new Uint32Array(wordsFor(40_000));
            for (let item = 0; item < 40_000; item++) if (random.chance(probability)) setBit(itemBits, item);
            const set = constraintSetFromItems(built.trie, built.leafItems, itemBits);
            return {
              constraint: { trie: built.trie, live: set.live, dead: null },
              beamWidth: widthOf(),
              normalize: random.pick(normalizations),
              temperature: random.pick([1, 0.7]),
            };
          });
          compareSteps(random, step, codebookSizes, requests, widthOf);
        }),
        seeded(`native step over child masks, ${name}`, 6),
      );
    },
  );
});
