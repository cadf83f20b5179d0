import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchSearch } from '../../src/decoder/batch-search.js';
import { type DecodeReport, newReport } from '../../src/decoder/decode-report.js';
import { type Model, openModel } from '../../src/decoder/model.js';
import { type Constraint, createJsKernel, type Kernel, type TrieArrays } from '../../src/kernels/index.js';
import { buildTrie, constraintSetFromLeaves } from '../../src/static-trie/index.js';
import { fixtureFolder } from '../helpers/small-catalog.js';

const codebookSizes = [2, 3];
const ALL_LEAVES = [0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2];
let model: Model;
let trie: TrieArrays;
/** All leaves but (1, 0), (1, 1) and (1, 2), so that code 1 is dead at the root. */
let constraint: Constraint;

beforeAll(async () => {
  model = await openModel(fixtureFolder('table'), 1);
  ({ trie } = await buildTrie({ codebookSizes, rowCount: 6, codes: Uint16Array.from(ALL_LEAVES) }));
  const leafItems = {
    itemCount: 6,
    leafCount: 6,
    sharedLeaves: new Uint32Array(0),
    sharedStart: new Uint32Array(1),
  };
  const { live } = constraintSetFromLeaves(trie, leafItems, Uint32Array.of(0b000111, 0));
  constraint = { trie, live, dead: { leaves: Uint32Array.of(1) } };
});
afterAll(() => model.close());

/** Searches so often that steps are sampled. @param spoil changes what a step has made, as a broken kernel would */
async function search(
  runs: number,
  spoil: (step: Parameters<Kernel['step']>) => void,
): Promise<DecodeReport> {
  const sound = createJsKernel();
  const kernel: Kernel = {
    ...sound,
    step(...args) {
      sound.step(...args);
      spoil(args);
    },
  };
  const searching = new BatchSearch(kernel);
  const report = newReport();
  const [prefill] = await model.prefill([[1]]);
  for (let run = 0; run < runs; run++) {
    const request = {
      constraint,
      prefill,
      beamWidths: [4, 4],
      normalize: 'vocabulary' as const,
      temperature: 1,
      fault: () => undefined,
    };
    await searching.run(model, [request, request], report);
  }
  return report;
}

describe('a watch over the beams', () => {
  it('times each step, and samples the live children of every level', async () => {
    const report = await search(61, () => {});
    // The root has one live child, and that has two: one is not in the set, one excluded.
    expect(report.liveChildren.sort()).toEqual([1, 2]);
    expect(report.constraintStepMs).toHaveLength(2 * 61);
    expect(report.modelStepMs).toHaveLength(61);
    expect(report.deadBeams).toBe(0);
  });

  it.each([
    ['a leaf that is not in the set', 5],
    ['an excluded leaf', 1],
  ])('counts beams that end on %s', async (_, leaf) => {
    const report = await search(1, ([batch, { depth }]) => {
      if (depth < 1) return;
      batch.childLo[0] = leaf;
      batch.childHi[0] = leaf + 1;
    });
    expect(report.deadBeams).toBe(1);
  });

  it('counts beams that end above the leaves', async () => {
    const report = await search(1, ([batch, { depth }]) => {
      if (depth === 1) batch.childHi[0] = batch.childLo[0] + 2;
    });
    expect(report.deadBeams).toBe(1);
  });

  it('counts the beams of a request that keeps nothing though it has live children', async () => {
    const report = await search(1, ([batch, { depth }]) => {
      if (depth === 1) batch.counts[1] = 0;
    });
    expect(report.deadBeams).toBe(1);
  });

  it('does not, where the model gives all of them no probability', async () => {
    const report = await search(1, ([batch, { depth, logits, vocabSize }]) => {
      if (depth !== 1) return;
      batch.counts[1] = 0;
      const row = batch.firstRows[1] * vocabSize;
      logits.fill(Number.NEGATIVE_INFINITY, row, row + vocabSize);
    });
    expect(report.deadBeams).toBe(0);
  });

  it('counts, by sample, beams on the way below which nothing lives', async () => {
    const report = await search(61, ([batch, { depth }]) => {
      if (depth > 0) return;
      // The node of code 1, which no leaf of the set lies below.
      for (const child of [0, 4]) {
        batch.childLo[child] = 3;
        batch.childHi[child] = 6;
      }
    });
    // Each request keeps nothing then, which is seen every time.
    expect(report.deadBeams).toBe(2 * 61);
    expect(report.liveChildren).toEqual([1]);
  });
});
