import { describe, expect, it } from 'vitest';
import {
  chooseKernel,
  createJsKernel,
  createStepOutput,
  type StepInput,
  usableLevels,
} from '../../src/kernels/index.js';
import { buildStaticTrie, constraintSetFromItems } from '../../src/static-trie/index.js';

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
const kernel = createJsKernel();

function step(input: Partial<StepInput>, beamWidth = 3) {
  const output = createStepOutput(beamWidth);
  kernel.step(
    trie,
    {
      depth: 0,
      beamCount: 1,
      scores: Float32Array.of(0),
      nodeLo: Uint32Array.of(0),
      nodeHi: Uint32Array.of(6),
      logits: Float32Array.of(0, 0, 0),
      vocabSize: 3,
      beamWidth,
      tokens: { offset: 0 },
      normalize: 'vocabulary',
      temperature: 1,
      live: null,
      dead: null,
      ...input,
    },
    output,
  );
  return {
    codes: Array.from(output.codes.subarray(0, output.count)),
    parents: Array.from(output.parentBeams.subarray(0, output.count)),
    scores: Array.from(output.scores.subarray(0, output.count)),
    ranges: Array.from({ length: output.count }, (_, i) => [output.nodeLo[i], output.nodeHi[i]]),
  };
}

describe('the step', () => {
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
      beamCount: 2,
      scores: Float32Array.of(0, -0),
      nodeLo: Uint32Array.of(3, 0),
      nodeHi: Uint32Array.of(6, 2),
      logits: Float32Array.of(-0, 0, -0, 0, -0, 0),
    };
    const { parents, codes } = step(beams, 4);
    expect(parents).toEqual([0, 0, 0, 1]);
    expect(codes).toEqual([0, 1, 2, 0]);
  });

  it('never fills up: fewer live children than beams give a shorter answer', () => {
    expect(step({ depth: 1, nodeLo: Uint32Array.of(2), nodeHi: Uint32Array.of(3) }).codes).toEqual([2]);
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
        beamCount: 2,
        scores: Float32Array.of(0, 0),
        nodeLo: Uint32Array.of(0, 3),
        nodeHi: Uint32Array.of(2, 6),
        logits: Float32Array.of(0, 0, 0, 0, 0, bad),
      };
      expect(() => step(input)).toThrow(
        expect.objectContaining({
          code: 'ESP_MODEL_OUTPUT',
          message: expect.stringContaining('step 1, beam 1: the logit of token 2'),
        }),
      );
    },
  );

  it('normalizes over the vocabulary, the level or the live children', () => {
    const logits = Float32Array.of(0, 0, 0, 0, 0);
    const set = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b100100, 0));
    const input = { logits, vocabSize: 5, tokens: { offset: 1 }, live: set.live };
    expect(step({ ...input, normalize: 'vocabulary' }).scores[0]).toBeCloseTo(-Math.log(5), 6);
    expect(step({ ...input, normalize: 'level' }).scores[0]).toBeCloseTo(-Math.log(3), 6);
    expect(step({ ...input, normalize: 'live' }).scores[0]).toBeCloseTo(-Math.log(2), 6);
    expect(step({ ...input, normalize: 'live' }).codes).toEqual([1, 2]);
  });

  it('refuses arrays that are too short', () => {
    expect(() => step({ logits: Float32Array.of(0, 0) })).toThrow(
      expect.objectContaining({ code: 'ESP_SHAPE' }),
    );
  });
});

describe('the choice of a kernel', () => {
  it('takes the best by default and refuses an unknown name', () => {
    expect(chooseKernel('').name).toBe(usableLevels().at(-1)?.name ?? 'js');
    expect(chooseKernel('js').name).toBe('js');
    expect(() => chooseKernel('jss')).toThrow(
      expect.objectContaining({
        code: 'ESP_KERNEL_UNKNOWN',
        message: 'ESPALIER_KERNELS must be one of auto, js, native, scalar, neon, avx2, avx512, found "jss"',
      }),
    );
  });
});
