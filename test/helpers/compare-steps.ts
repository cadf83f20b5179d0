import { expect } from 'vitest';
import {
  type Constraint,
  jsStep,
  type Kernel,
  type LevelTokens,
  type Logits,
  normalizations,
  StepBatch,
  type StepInput,
  type StepRequest,
  setBit,
  wordsFor,
} from '../../src/kernels/index.js';
import {
  buildStaticTrie,
  constraintSetFromItems,
  MAX_CODEBOOK_SIZE,
  prepareExclusions,
} from '../../src/static-trie/index.js';
import type { Random } from './random.js';
import { randomRows } from './random-rows.js';

type LogitKind = 'normal' | 'ties' | 'sparse' | 'gone' | 'huge' | 'low' | 'bad';
const logitKinds: readonly LogitKind[] = ['normal', 'normal', 'ties', 'sparse', 'gone', 'huge', 'low', 'bad'];

function randomConstraint(random: Random, built: ReturnType<typeof buildStaticTrie>): Constraint {
  const { trie, leafItems } = built;
  const { itemCount } = leafItems;
  let set = null;
  if (random.chance(0.7)) {
    const probability = random.pick([0, 0.01, 0.3, 0.9, 1]);
    const itemBits = new Uint32Array(wordsFor(itemCount));
    for (let item = 0; item < itemCount; item++) if (random.chance(probability)) setBit(itemBits, item);
    set = constraintSetFromItems(trie, leafItems, itemBits);
  }
  let dead = null;
  if (random.chance(0.5)) {
    const probability = random.pick([0.01, 0.3, 0.95, 1]);
    const excluded = Array.from({ length: itemCount }, (_, item) => item).filter(() =>
      random.chance(probability),
    );
    dead = prepareExclusions(leafItems, set, excluded).dead;
  }
  return { trie, live: set?.live ?? null, dead };
}

function randomTokens(random: Random, codeCount: number): { tokens: LevelTokens; vocabSize: number } {
  const offset = random.below(20);
  const vocabSize = offset + codeCount + random.below(20);
  if (random.chance(0.6)) return { tokens: { offset }, vocabSize };
  return {
    tokens: { table: Uint32Array.from({ length: codeCount }, () => random.below(vocabSize)) },
    vocabSize,
  };
}

function randomLogit(random: Random, kind: LogitKind): number {
  if (kind === 'ties') return random.below(3) - 1 || (random.chance(0.5) ? 0 : -0);
  if (kind === 'sparse' && random.chance(0.7)) return Number.NEGATIVE_INFINITY;
  if (kind === 'gone') return Number.NEGATIVE_INFINITY;
  if (kind === 'huge') return random.normal() * random.pick([100, 1e4, 3e38]);
  if (kind === 'low') return -100 - random.uniform();
  if (kind === 'bad' && random.chance(0.002)) return random.pick([Number.NaN, Number.POSITIVE_INFINITY]);
  return random.normal() * 3;
}

function randomLogits(random: Random, rows: number, vocabSize: number): Logits {
  const isHalf = random.chance(0.2);
  const logits = isHalf ? new Uint16Array(rows * vocabSize) : new Float32Array(rows * vocabSize);
  for (let row = 0; row < rows; row++) {
    const kind = random.pick(logitKinds);
    for (let token = 0; token < vocabSize; token++) {
      // Any 16 bits are a float16; NaN and infinity are made rare.
      const half = random.below(0x7c00) | (random.chance(0.5) ? 0x8000 : 0);
      logits[row * vocabSize + token] = isHalf
        ? kind === 'gone'
          ? 0xfc00
          : kind === 'bad' && random.chance(0.001)
            ? 0x7e00
            : half
        : Math.max(
            Math.min(randomLogit(random, kind), kind === 'huge' ? 3.4e38 : Infinity),
            kind === 'huge' ? -3.4e38 : -Infinity,
          );
    }
  }
  return logits;
}

/** What a step left in its batch, as plain values. */
function results(batch: StepBatch) {
  let child = 0;
  return Array.from({ length: batch.requestCount }, (_, request) => {
    const from = child;
    const to = from + batch.counts[request];
    child += batch.beamWidths[request];
    const bad = batch.badBeams[request];
    return {
      bad: bad === -1 ? null : [bad, batch.badTokens[request], batch.badValues[request]],
      scores: Array.from(batch.childScores.subarray(from, to)),
      parents: Array.from(batch.parentBeams.subarray(from, to)),
      codes: Array.from(batch.codes.subarray(from, to)),
      lo: Array.from(batch.childLo.subarray(from, to)),
      hi: Array.from(batch.childHi.subarray(from, to)),
    };
  });
}

function checkNormalizers(found: Float32Array, expected: Float32Array, count: number): void {
  for (let beam = 0; beam < count; beam++) {
    const bound = 1e-6 * Math.max(1, Math.abs(expected[beam]));
    const isFine = Object.is(found[beam], expected[beam]) || Math.abs(found[beam] - expected[beam]) <= bound;
    if (!isFine) expect(`beam ${beam}: ${found[beam]}`).toBe(`${expected[beam]} ± ${bound}`);
  }
}

/** Decodes with a kernel and with the js one, step by step, and compares all that they find. */
export function compareSteps(
  random: Random,
  step: Kernel['step'],
  codebookSizes: readonly number[],
  requests: readonly StepRequest[],
  widthOf: () => number,
): void {
  const requestCount = requests.length;
  const batch = new StepBatch(requestCount, requestCount * 1024);
  const reference = new StepBatch(requestCount, requestCount * 1024);
  batch.begin(requests);
  reference.begin(requests);
  for (let depth = 0; depth < codebookSizes.length; depth++) {
    const { tokens, vocabSize } = randomTokens(random, codebookSizes[depth]);
    const beams = batch.beamCounts.reduce((sum, count) => sum + count, 0);
    if (beams === 0) break;
    const gaps = random.below(3);
    let row = 0;
    batch.beamCounts.forEach((count, request) => {
      batch.firstRows[request] = reference.firstRows[request] = row;
      row += count + gaps;
    });
    const input: StepInput = {
      depth,
      logits: randomLogits(random, row, vocabSize),
      vocabSize,
      tokens,
    };
    step(batch, input);
    jsStep(reference, input);
    expect(results(batch).map(({ bad }) => bad)).toEqual(results(reference).map(({ bad }) => bad));
    let beam = 0;
    batch.beamCounts.forEach((count, request) => {
      if (batch.badBeams[request] === -1) {
        checkNormalizers(batch.normalizers.subarray(beam), reference.normalizers.subarray(beam), count);
      }
      beam += count;
    });
    jsStep(reference, input, batch.normalizers);
    expect(results(batch)).toEqual(results(reference));
    const widths = requests.map(widthOf);
    batch.advance((request) => widths[request]);
    reference.advance((request) => widths[request]);
    expect(Array.from(batch.nodeLo)).toEqual(Array.from(reference.nodeLo));
  }
}

/**
 * Random tries, sets, exclusions and requests, decoded with a kernel and with the js one.
 * @param maxLogits that one step may bring, so that a case with large vocabularies and wide beams stays small
 */
export function compareRandomSteps(random: Random, step: Kernel['step'], maxLogits: number): void {
  const rows = randomRows(random);
  const tries = Array.from({ length: 1 + random.below(2) }, () =>
    buildStaticTrie(random.chance(0.5) ? rows : { ...rows, ...shuffledRows(random, rows) }),
  );
  const widest = Math.max(...rows.codebookSizes) + 40;
  const requestCount = 1 + random.below(4);
  const maxWidth = Math.max(1, Math.floor(maxLogits / widest / requestCount));
  const widthOf = () => Math.min(maxWidth, random.pick([1, 2, 7, 50, 129, 300, 1024]));
  const requests = Array.from(
    { length: requestCount },
    (): StepRequest => ({
      constraint: randomConstraint(random, random.pick(tries)),
      beamWidth: widthOf(),
      normalize: random.pick(normalizations),
      temperature: random.pick([1, 1, 0.7, 3]),
    }),
  );
  compareSteps(random, step, rows.codebookSizes, requests, widthOf);
}

/** As many rows of the same codebooks, others. */
function shuffledRows(
  random: Random,
  { rowCount, codebookSizes }: { rowCount: number; codebookSizes: readonly number[] },
) {
  const codes = Uint32Array.from({ length: rowCount * codebookSizes.length }, (_, index) =>
    random.below(Math.min(MAX_CODEBOOK_SIZE, codebookSizes[index % codebookSizes.length])),
  );
  return { codes };
}
