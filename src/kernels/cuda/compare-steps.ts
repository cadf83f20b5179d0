import { jsStep } from '../js-kernel.js';
import type { Kernel, StepInput } from '../kernel.js';
import { StepBatch } from '../step-batch.js';
import type { StepShape } from '../step-device.js';
import type { TrieArrays } from '../types.js';

/** Beams of the one request that is decoded; a usual width. */
const BEAMS = 50;
/** Logits of a step at most: vocabularies of 262,144 get fewer beams, so that this stays short. */
const MAX_LOGITS = 1 << 22;
/** A prime, so that the rows of one vocabulary differ. */
const PATTERN_LENGTH = 65_537;
/** Of all steps together. */
const BUDGET_MS = 40;
const LEAST_ROUNDS = 3;
const MOST_ROUNDS = 50;
/** Each normalizer may be off by 1e-6 of its size, and so may the other. */
const NORMALIZER_BOUND = 2e-6;

export interface StepComparison {
  /** Where the device's step is wrong, in words; null where the two agree. */
  difference: string | null;
  beams: number;
  /** Time of one decode's steps, the fastest of each; 0 where they differ. */
  deviceMs: number;
  hostMs: number;
}

/**
 * Decodes once over a whole trie with made-up logits, every step on the device and on the CPU: first compared, then
 * timed in turns, of each the fastest, since whatever else runs can only slow it down.
 */
export function compareSteps(
  device: Kernel['step'],
  host: Kernel['step'],
  trie: TrieArrays,
  { vocabSize, tokens }: StepShape,
): StepComparison {
  const beams = Math.max(1, Math.min(BEAMS, Math.floor(MAX_LOGITS / vocabSize)));
  const logits = makeLogits(beams * vocabSize);
  const onDevice = newBatch(trie, beams);
  const onHost = newBatch(trie, beams);
  const comparison: StepComparison = { difference: null, beams, deviceMs: 0, hostMs: 0 };
  for (let depth = 0; depth < trie.levelCount; depth++) {
    const input = { depth, logits, vocabSize, tokens: tokens[depth] };
    device(onDevice, input);
    host(onHost, input);
    const difference = differenceOf(onDevice, onHost, input);
    if (difference !== null) return { ...comparison, difference: `step ${depth}: ${difference}` };
    const times = race(
      [() => device(onDevice, input), () => host(onHost, input)],
      BUDGET_MS / trie.levelCount,
    );
    comparison.deviceMs += times[0];
    comparison.hostMs += times[1];
    // The same beams for both, whatever the last digit of a score is.
    copyChildren(onHost, onDevice);
    onHost.advance(() => beams);
    onDevice.advance(() => beams);
  }
  return comparison;
}

function newBatch(trie: TrieArrays, beamWidth: number): StepBatch {
  const batch = new StepBatch(1, beamWidth);
  const constraint = { trie, live: null, dead: null };
  batch.begin([{ constraint, beamWidth, normalize: 'vocabulary', temperature: 1 }]);
  return batch;
}

/** Spread like a model's, without ties to speak of, the same every time. */
function makeLogits(length: number): Float32Array {
  const pattern = new Float32Array(Math.min(PATTERN_LENGTH, length));
  let state = 1;
  for (let index = 0; index < pattern.length; index++) {
    // Numerical Recipes' generator is random enough for logits.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    pattern[index] = (state / 2 ** 32) * 12 - 6;
  }
  const logits = new Float32Array(length);
  for (let from = 0; from < length; from += pattern.length) {
    logits.set(pattern.subarray(0, Math.min(pattern.length, length - from)), from);
  }
  return logits;
}

/** Exact, given the device's own normalizers; those must be the CPU's within their bound. */
function differenceOf(device: StepBatch, host: StepBatch, input: StepInput): string | null {
  for (let beam = 0; beam < host.beamCounts[0]; beam++) {
    const [found, expected] = [device.normalizers[beam], host.normalizers[beam]];
    const bound = NORMALIZER_BOUND * Math.max(1, Math.abs(expected));
    if (!(Math.abs(found - expected) <= bound))
      return `beam ${beam}: expected logSumExp ${expected}, found ${found}`;
  }
  const exact = newBatch(device.constraints[0].trie, device.beamCapacity);
  exact.beamCounts[0] = device.beamCounts[0];
  exact.scores.set(device.scores);
  exact.nodeLo.set(device.nodeLo);
  exact.nodeHi.set(device.nodeHi);
  jsStep(exact, input, device.normalizers);
  const [found, expected] = [device.counts[0], exact.counts[0]];
  if (found !== expected) return `expected ${expected} children, found ${found}`;
  for (const name of ['parentBeams', 'codes', 'childLo', 'childHi', 'childScores'] as const) {
    for (let child = 0; child < expected; child++) {
      if (device[name][child] === exact[name][child]) continue;
      return `child ${child}: expected ${name} ${exact[name][child]}, found ${device[name][child]}`;
    }
  }
  return null;
}

function copyChildren(from: StepBatch, to: StepBatch): void {
  for (const name of ['counts', 'childLo', 'childHi', 'childScores'] as const) to[name].set(from[name]);
}

/** The fastest run of each, in milliseconds. */
function race(runs: readonly (() => void)[], budgetMs: number): number[] {
  const fastest = runs.map(() => Number.POSITIVE_INFINITY);
  const startMs = performance.now();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= LEAST_ROUNDS && performance.now() - startMs > budgetMs) break;
    runs.forEach((run, index) => {
      const runStartMs = performance.now();
      run();
      fastest[index] = Math.min(fastest[index], performance.now() - runStartMs);
    });
  }
  return fastest;
}
