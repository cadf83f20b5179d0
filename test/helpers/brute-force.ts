import { type LevelTokens, type Normalization, tokenOf } from '../../src/kernels/index.js';

/**
 * The step and the whole decode, written as naively as possible over lists of items: no trie, no bitmaps, no
 * heap. What the kernels are measured against.
 */

/** A live prefix: its codes and its cumulative score. */
export interface Prefix {
  codes: number[];
  score: number;
}

export interface BruteForceInput {
  codebookSizes: readonly number[];
  /** SIDs of the items that are allowed and not excluded. */
  liveSids: readonly number[][];
  tokens: readonly LevelTokens[];
  normalize: Normalization;
  temperature: number;
}

/** The best `beamWidth` children of the prefixes; ties by parent, then code. `parents[i]` is child i's parent. */
export function bruteForceStep(
  input: BruteForceInput,
  prefixes: readonly Prefix[],
  logitRows: readonly Float32Array[],
  beamWidth: number,
): { children: Prefix[]; parents: number[] } {
  const candidates = prefixes.flatMap((prefix, parent) =>
    scoredChildren(input, prefix, logitRows[parent]).map((child) => ({ ...child, parent })),
  );
  candidates.sort((a, b) => b.score - a.score || a.parent - b.parent || a.codes.at(-1)! - b.codes.at(-1)!);
  const kept = candidates.slice(0, beamWidth);
  return {
    children: kept.map(({ codes, score }) => ({ codes, score })),
    parents: kept.map(({ parent }) => parent),
  };
}

/** Scores of all live SIDs along their own paths, best first; ties by SID. @param logitsOf logits after a prefix. */
export function bruteForceDecode(
  input: BruteForceInput,
  logitsOf: (codes: readonly number[]) => Float32Array,
): Prefix[] {
  let prefixes: Prefix[] = [{ codes: [], score: 0 }];
  for (let depth = 0; depth < input.codebookSizes.length; depth++) {
    prefixes = prefixes.flatMap((prefix) => scoredChildren(input, prefix, logitsOf(prefix.codes)));
  }
  return prefixes.sort((a, b) => b.score - a.score || compareCodes(a.codes, b.codes));
}

function scoredChildren(input: BruteForceInput, prefix: Prefix, logits: Float32Array): Prefix[] {
  const depth = prefix.codes.length;
  const tokens = input.tokens[depth];
  const scaled = logits.map((logit) => logit / input.temperature);
  const codes = liveCodes(input.liveSids, prefix.codes);
  const read = {
    vocabulary: () => Array.from(scaled),
    level: () =>
      Array.from({ length: input.codebookSizes[depth] }, (_, code) => scaled[tokenOf(tokens, code)]),
    live: () => codes.map((code) => scaled[tokenOf(tokens, code)]),
  }[input.normalize]();
  const normalizer = naiveLogSumExp(read);
  return codes
    .filter((code) => scaled[tokenOf(tokens, code)] !== Number.NEGATIVE_INFINITY)
    .map((code) => {
      const logProb = Math.fround(scaled[tokenOf(tokens, code)] - normalizer);
      return { codes: [...prefix.codes, code], score: Math.fround(prefix.score + logProb) };
    });
}

function liveCodes(liveSids: readonly number[][], prefix: readonly number[]): number[] {
  const below = liveSids.filter((sid) => prefix.every((code, level) => sid[level] === code));
  return [...new Set(below.map((sid) => sid[prefix.length]))].sort((a, b) => a - b);
}

export function naiveLogSumExp(values: readonly number[]): number {
  const maximum = Math.max(...values);
  if (maximum === Number.NEGATIVE_INFINITY) return maximum;
  return Math.fround(maximum + Math.log(values.reduce((sum, value) => sum + Math.exp(value - maximum), 0)));
}

export function compareCodes(a: readonly number[], b: readonly number[]): number {
  for (let level = 0; level < a.length; level++) if (a[level] !== b[level]) return a[level] - b[level];
  return 0;
}
