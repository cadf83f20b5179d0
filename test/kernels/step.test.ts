import { beforeAll, describe, expect, it } from 'vitest';
import {
  badLogitError,
  chooseKernel,
  createJsKernel,
  type DeadLeaves,
  type Kernel,
  type LevelTokens,
  type LiveLeaves,
  type Logits,
  type Normalization,
  StepBatch,
  usableLevels,
} from '../../src/kernels/index.js';
import { buildStaticTrie, constraintSetFromItems } from '../../src/static-trie/index.js';
import { nativeKernels } from '../helpers/native.js';

// Two levels of three codes; leaves: 00 01 12 20 21 22.
const sids = [
  [0, 0],
  [0, 1],
  [1, 2],
  [2, 0],
  [2, 1],
  [2, 2],
];
const codebookSizes = [3, 3];
const { trie, leafItems } = buildStaticTrie({
  codebookSizes,
  rowCount: 6,
  codes: Uint16Array.from(sids.flat()),
});

interface OneStep {
  depth: number;
  scores: number[];
  nodes: [lo: number, hi: number][];
  logits: Logits;
  vocabSize: number;
  tokens: LevelTokens;
  normalize: Normalization;
  temperature: number;
  live: LiveLeaves | null;
  dead: DeadLeaves | null;
}

let kernel: Kernel = createJsKernel();

function runStep(input: Partial<OneStep>, beamWidth: number): StepBatch {
  const one: OneStep = {
    depth: 0,
    scores: [0],
    nodes: [[0, 6]],
    logits: Float32Array.of(0, 0, 0),
    vocabSize: 3,
    tokens: { offset: 0 },
    normalize: 'vocabulary',
    temperature: 1,
    live: null,
    dead: null,
    ...input,
  };
  const { live, dead, normalize, temperature, scores, nodes } = one;
  const batch = new StepBatch(1, Math.max(beamWidth, scores.length));
  batch.begin([{ constraint: { trie, live, dead }, beamWidth, normalize, temperature }]);
  batch.beamCounts[0] = scores.length;
  batch.scores.set(scores);
  nodes.forEach(([lo, hi], beam) => {
    batch.nodeLo[beam] = lo;
    batch.nodeHi[beam] = hi;
  });
  kernel.step(batch, one);
  return batch;
}

function step(input: Partial<OneStep>, beamWidth = 3) {
  const batch = runStep(input, beamWidth);
  const count = batch.counts[0];
  return {
    codes: Array.from(batch.codes.subarray(0, count)),
    parents: Array.from(batch.parentBeams.subarray(0, count)),
    scores: Array.from(batch.childScores.subarray(0, count)),
    ranges: Array.from({ length: count }, (_, child) => [batch.childLo[child], batch.childHi[child]]),
  };
}

describe.each([createJsKernel(), ...nativeKernels])('the step of $stepName', (one) => {
  beforeAll(() => {
    kernel = one;
  });

  it('scores children by log probability and gives their leaf ranges', () => {
    const { codes, scores, ranges } = step({ logits: Float32Array.from([1, 2, 4], Math.log) });
    expect(codes).toEqual([2, 1, 0]);
    [4 / 7, 2 / 7, 1 / 7].forEach((probability, rank) => {
      expect(scores[rank]).toBeCloseTo(Math.log(probability), 6);
    });
    expect(ranges).toEqual([
      [3, 6],
      [2, 3],
      [0, 2],
    ]);
  });

  it('breaks ties by parent beam, then code, and takes -0 for +0', () => {
    const beams = {
      depth: 1,
      scores: [0, -0],
      nodes: [
        [3, 6],
        [0, 2],
      ] as [number, number][],
      logits: Float32Array.of(-0, 0, -0, 0, -0, 0),
    };
    const { parents, codes } = step(beams, 4);
    expect(parents).toEqual([0, 0, 0, 1]);
    expect(codes).toEqual([0, 1, 2, 0]);
  });

  it('never fills up: fewer live children than beams give a shorter answer', () => {
    expect(step({ depth: 1, nodes: [[2, 3]] }).codes).toEqual([2]);
  });

  it('does not see children whose logit is -Infinity, nor rows of nothing else', () => {
    const gone = Number.NEGATIVE_INFINITY;
    expect(step({ logits: Float32Array.of(gone, 0, gone) }).codes).toEqual([1]);
    expect(step({ logits: Float32Array.of(gone, gone, gone) }).codes).toEqual([]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses a logit of %s, naming step, beam and token',
    (bad) => {
      const input = {
        depth: 1,
        scores: [0, 0],
        nodes: [
          [0, 2],
          [3, 6],
        ] as [number, number][],
        logits: Float32Array.of(0, 0, 0, 0, 0, bad),
      };
      const batch = runStep(input, 3);
      expect(batch.counts[0]).toBe(0);
      const error = badLogitError(batch, 0, 1);
      expect(error?.code).toBe('ESP_MODEL_OUTPUT');
      expect(error?.message).toBe(
        `step 1, beam 1: the logit of token 2 must be finite or -Infinity, found ${bad}`,
      );
    },
  );

  it('keeps children whose score is too low for a float, behind all others', () => {
    const logits = Float32Array.of(0, -3.4e38, -1);
    const some = runStep({ scores: [-3.4e38], logits }, 3);
    expect(Array.from(some.codes.subarray(0, some.counts[0]))).toEqual([0, 2, 1]);
    expect(some.childScores[2]).toBe(Number.NEGATIVE_INFINITY);
    const none = runStep({ scores: [-3.4e38], logits: new Float32Array(3).fill(-3.4e38) }, 2);
    expect(none.counts[0]).toBe(2);
  });

  it('sees a bad logit among children that do not exist', () => {
    const gone = Number.NEGATIVE_INFINITY;
    const batch = runStep({ logits: Float32Array.of(gone, Number.NaN, gone) }, 3);
    expect([batch.counts[0], batch.badBeams[0], batch.badTokens[0]]).toEqual([0, 0, 1]);
  });

  it('normalizes over the vocabulary, the level or the live children', () => {
    const logits = Float32Array.of(0, 0, 0, 0, 0);
    const set = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b100100, 0));
    const input = { logits, vocabSize: 5, tokens: { offset: 1 }, live: set.live };
    expect(step({ ...input, normalize: 'vocabulary' }).scores[0]).toBeCloseTo(-Math.log(5), 6);
    expect(step({ ...input, normalize: 'level' }).scores[0]).toBeCloseTo(-Math.log(3), 6);
    expect(step({ ...input, normalize: 'live' }).scores[0]).toBeCloseTo(-Math.log(2), 6);
    expect(step({ ...input, normalize: 'live' }).codes).toEqual([1, 2]);
  });

  it('reads float16, and divides by the temperature', () => {
    // 1, 2, 4 as float16.
    const half = step({ logits: Uint16Array.of(0x3c00, 0x4000, 0x4400), temperature: 2 });
    expect(half).toEqual(step({ logits: Float32Array.of(0.5, 1, 2) }));
  });

  const { live } = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b111111, 0));
  const bits = (words: number) => new Uint32Array(words);
  const dead = (...leaves: number[]) => ({ dead: { leaves: Uint32Array.from(leaves) } });
  const below = (...nodes: [number, number][]) => ({
    depth: 1,
    scores: nodes.map(() => 0),
    nodes,
    logits: new Float32Array(3 * nodes.length),
  });

  it.each<[string, Partial<OneStep>]>([
    ['rows of logits', { logits: Float32Array.of(0, 0) }],
    ['logits of another type', { logits: new Float64Array(3) as unknown as Float32Array }],
    ['an empty vocabulary', { vocabSize: 0 }],
    ['levels', { depth: 2 }],
    ['tokens', { tokens: { offset: 1 } }],
    ['a short table', { tokens: { table: Uint32Array.of(0, 1) } }],
    ['a long table', { tokens: { table: Uint32Array.of(0, 1, 2, 2) } }],
    ['a table beyond the vocabulary', { tokens: { table: Uint32Array.of(0, 1, 3) } }],
    ['a temperature of 0', { temperature: 0 }],
    ['a temperature that is 0 as a float32', { temperature: 1e-46 }],
    ['a temperature below 0', { temperature: -1 }],
    ['a temperature of NaN', { temperature: Number.NaN }],
    ['a normalization', { normalize: 'foo' as Normalization }],
    ['leaves of a larger set', { live: { ...live, leafBits: bits(4) } }],
    ['leaves of a smaller set', { live: { ...live, leafBits: bits(0) } }],
    ['root children of another set', { live: { ...live, rootMask: bits(4) } }],
    ['nodes of another set', { live: { ...live, nodeBits: bits(0) } }],
    ['live leaves that are no words', { live: { ...live, leafBits: [0, 0] as unknown as Uint32Array } }],
    ['dead leaves beyond the trie', dead(2, 6)],
    ['dead leaves that do not ascend', dead(3, 2)],
    ['dead leaves that come twice', dead(3, 3)],
    ['an empty node', below([2, 2])],
    ['a node beyond the leaves', below([3, 7])],
    ['a range that is no node', below([1, 3])],
    ['two beams at the root', { ...below([0, 6], [0, 6]), depth: 0 }],
  ])('refuses %s that does not fit', (_, input) => {
    expect(() => step(input)).toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
    // Nothing of it stays.
    expect(step({}).codes).toEqual([0, 1, 2]);
  });

  it.each([0, 1025])('refuses a beam width of %s', (width) => {
    expect(() => step({}, width)).toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
  });

  it('refuses beams that the batch has no room for', () => {
    const batch = new StepBatch(1, 2);
    const constraint = { trie, live: null, dead: null };
    batch.begin([{ constraint, beamWidth: 3, normalize: 'vocabulary', temperature: 1 }]);
    const input = { depth: 0, logits: new Float32Array(3), vocabSize: 3, tokens: { offset: 0 } };
    expect(() => kernel.step(batch, input)).toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
  });
});

describe('the choice of a kernel', () => {
  it('takes the best by default and refuses an unknown name', () => {
    expect(chooseKernel('').name).toBe(usableLevels().at(-1)?.name ?? 'js');
    expect(chooseKernel('js').name).toBe('js');
    expect(() => chooseKernel('jss')).toThrow(
      expect.objectContaining({
        code: 'ESP_KERNEL_UNKNOWN',
        message:
          'ESPALIER_KERNELS must be one of auto, js, native, scalar, neon, avx2, avx512, cuda, found "jss"',
      }),
    );
  });
});
