import { EspalierError } from '../errors.js';
import { BestChildren } from './best-children.js';
import { ChildList, listLiveChildren } from './children.js';
import { jsSets } from './js-sets.js';
import { BadLogit, logSumExp, scaledLogit, tokenOf } from './log-probs.js';
import { scan } from './scan.js';
import type { Kernel, StepInput, StepOutput, TrieArrays } from './types.js';

/** The step in plain JavaScript over typed arrays: always there, and the reference for every other kernel. */
export function createJsKernel(): Kernel {
  const children = new ChildList();
  return {
    name: 'js',
    stepName: 'js',
    sets: jsSets,
    scan,
    step(trie: TrieArrays, input: StepInput, output: StepOutput): void {
      checkShapes(input, output);
      const best = new BestChildren(input.beamWidth);
      for (let beam = 0; beam < input.beamCount; beam++) {
        const { nodeLo, nodeHi, live, dead } = input;
        listLiveChildren(trie, input.depth, nodeLo[beam], nodeHi[beam], live, dead, children);
        offerChildren(trie, input, beam, children, best);
      }
      best.drainInto(output);
    },
  };
}

/** Scores the live children of one beam, in ascending order of their codes. */
function offerChildren(
  trie: TrieArrays,
  input: StepInput,
  beam: number,
  children: ChildList,
  best: BestChildren,
): void {
  const { tokens, temperature, vocabSize } = input;
  const row = input.logits.subarray(beam * vocabSize, (beam + 1) * vocabSize);
  const normalizer = beamLogSumExp(trie, input, beam, row, children);
  for (let child = 0; child < children.count; child++) {
    const code = children.codes[child];
    const logit = scaledLogit(row[tokenOf(tokens, code)], temperature);
    if (logit === Number.NEGATIVE_INFINITY) continue;
    // Float32 after each operation, as every kernel computes it.
    const score = Math.fround(input.scores[beam] + Math.fround(logit - normalizer));
    best.offer(score, beam, code, children.lo[child], children.hi[child]);
  }
}

/** logSumExp over the logits that the normalization reads, with faults named by step, beam and token. */
function beamLogSumExp(
  trie: TrieArrays,
  { normalize, tokens, temperature, depth }: StepInput,
  beam: number,
  row: Float32Array,
  children: ChildList,
): number {
  const tokenAt = {
    vocabulary: (index: number) => index,
    level: (code: number) => tokenOf(tokens, code),
    live: (child: number) => tokenOf(tokens, children.codes[child]),
  }[normalize];
  const count = { vocabulary: row.length, level: trie.codebookSizes[depth], live: children.count }[normalize];
  let values = row;
  if (normalize !== 'vocabulary' || temperature !== 1) {
    values = new Float32Array(count);
    for (let index = 0; index < count; index++) values[index] = scaledLogit(row[tokenAt(index)], temperature);
  }
  try {
    return logSumExp(values);
  } catch (thrown) {
    if (!(thrown instanceof BadLogit)) throw thrown;
    const token = tokenAt(thrown.index);
    throw new EspalierError(
      'ESP_MODEL_OUTPUT',
      `step ${depth}, beam ${beam}: the logit of token ${token} must be finite or -Infinity, found ${thrown.value}`,
      {
        details: [
          {
            field: `logits[${beam}][${token}]`,
            expected: 'finite or -Infinity',
            found: String(thrown.value),
          },
        ],
      },
    );
  }
}

function checkShapes(input: StepInput, output: StepOutput): void {
  const { beamCount, vocabSize, beamWidth } = input;
  const checks: [string, number, number][] = [
    ['logits', input.logits.length, beamCount * vocabSize],
    ['scores', input.scores.length, beamCount],
    ['nodeLo', input.nodeLo.length, beamCount],
    ['nodeHi', input.nodeHi.length, beamCount],
    ['output.scores', output.scores.length, beamWidth],
    ['output.parentBeams', output.parentBeams.length, beamWidth],
    ['output.codes', output.codes.length, beamWidth],
    ['output.nodeLo', output.nodeLo.length, beamWidth],
    ['output.nodeHi', output.nodeHi.length, beamWidth],
  ];
  for (const [name, length, needed] of checks) {
    if (length < needed) {
      throw new EspalierError('ESP_SHAPE', `${name} must have at least ${needed} entries, found ${length}`, {
        details: [{ field: name, expected: `≥ ${needed} entries`, found: String(length) }],
      });
    }
  }
}
