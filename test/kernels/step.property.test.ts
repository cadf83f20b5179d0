import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createJsKernel,
  type Kernel,
  type LevelTokens,
  normalizations,
  StepBatch,
} from '../../src/kernels/index.js';
import { type ConstraintSet, type Exclusions, prepareExclusions } from '../../src/static-trie/index.js';
import {
  type BruteForceInput,
  bruteForceDecode,
  bruteForceStep,
  compareCodes,
  type Prefix,
} from '../helpers/brute-force.js';
import { Random } from '../helpers/random.js';
import { type RandomCatalog, randomCatalog, randomSet } from '../helpers/random-catalog.js';
import { seeded } from '../helpers/seed.js';

const kernel = createJsKernel();

/** One random request over a random catalog. */
interface Case extends BruteForceInput {
  catalog: RandomCatalog;
  set: ConstraintSet | null;
  exclusions: Exclusions | null;
  vocabSize: number;
  /** How logits come: spread out, on a coarse grid so that scores tie, or with many −infinities. */
  logitKind: 'normal' | 'ties' | 'sparse';
}

function randomCase(random: Random): Case {
  const catalog = randomCatalog(random);
  const withSet = random.chance(0.7) ? randomSet(random, catalog) : null;
  const excluded = random.chance(0.5)
    ? catalog.sids.map((_, item) => item).filter(() => random.chance(0.3))
    : [];
  const set = withSet?.set ?? null;
  const exclusions = excluded.length > 0 ? prepareExclusions(catalog.leafItems, set, excluded) : null;
  const liveSids = catalog.sids.filter(
    (_, item) => (withSet?.allowed[item] ?? true) && !excluded.includes(item),
  );
  const { tokens, vocabSize } = randomTokens(random, catalog.codebookSizes);
  return {
    catalog,
    codebookSizes: catalog.codebookSizes,
    liveSids,
    set,
    exclusions,
    tokens,
    vocabSize,
    normalize: random.pick(normalizations),
    temperature: random.pick([1, 1, 0.5, 3]),
    logitKind: random.pick(['normal', 'ties', 'sparse']),
  };
}

/** Offsets one level after the other, or tables that scatter the codes over the vocabulary. */
function randomTokens(random: Random, codebookSizes: number[]): { tokens: LevelTokens[]; vocabSize: number } {
  let next = random.below(4);
  const tokens = codebookSizes.map((size): LevelTokens => {
    const offset = next;
    next += size;
    if (random.chance(0.5)) return { offset };
    const table = Uint32Array.from({ length: size }, (_, code) => offset + code);
    for (let code = size - 1; code > 0; code--) {
      const other = random.below(code + 1);
      [table[code], table[other]] = [table[other], table[code]];
    }
    return { table };
  });
  return { tokens, vocabSize: next + random.below(4) };
}

function randomLogits(random: Random, { vocabSize, logitKind }: Case): Float32Array {
  return Float32Array.from({ length: vocabSize }, () => {
    if (logitKind === 'ties') return random.below(3) - 1 || (random.chance(0.5) ? 0 : -0);
    if (logitKind === 'sparse' && random.chance(0.5)) return Number.NEGATIVE_INFINITY;
    return random.normal() * 3;
  });
}

/** The kept children of one request. */
interface Kept {
  count: number;
  scores: Float32Array;
  parentBeams: Uint32Array;
  codes: Uint32Array;
  nodeLo: Uint32Array;
  nodeHi: Uint32Array;
}

function runKernel(
  kernel: Kernel,
  one: Case,
  prefixes: readonly Prefix[],
  rows: Float32Array[],
  beamWidth: number,
): Kept {
  const { catalog, vocabSize, tokens, normalize, temperature, set, exclusions } = one;
  const depth = prefixes[0].codes.length;
  const logits = new Float32Array(rows.length * vocabSize);
  rows.forEach((row, beam) => {
    logits.set(row, beam * vocabSize);
  });
  const batch = new StepBatch(1, Math.max(beamWidth, prefixes.length));
  const constraint = { trie: catalog.trie, live: set?.live ?? null, dead: exclusions?.dead ?? null };
  batch.begin([{ constraint, beamWidth, normalize, temperature }]);
  batch.beamCounts[0] = prefixes.length;
  prefixes.forEach(({ codes, score }, beam) => {
    const { lo, hi } = leafRange(catalog, codes);
    batch.scores[beam] = score;
    batch.nodeLo[beam] = lo;
    batch.nodeHi[beam] = hi;
  });
  kernel.step(batch, { depth, logits, vocabSize, tokens: tokens[depth] });
  return {
    count: batch.counts[0],
    scores: batch.childScores,
    parentBeams: batch.parentBeams,
    codes: batch.codes,
    nodeLo: batch.childLo,
    nodeHi: batch.childHi,
  };
}

/** The leaves below a prefix, by looking at every leaf. */
function leafRange({ trie }: RandomCatalog, codes: readonly number[]): { lo: number; hi: number } {
  const below: number[] = [];
  for (let leaf = 0; leaf < trie.leafCount; leaf++) {
    if (codes.every((code, level) => trie.rows[leaf * trie.levelCount + level] === code)) below.push(leaf);
  }
  return { lo: below[0] ?? 0, hi: (below.at(-1) ?? -1) + 1 };
}

describe('the js kernel against brute force', () => {
  it('keeps the same children in the same order, step by step', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const one = randomCase(random);
        const beamWidth = random.pick([1, 2, 7, 50, 1024]);
        let prefixes: Prefix[] = [{ codes: [], score: 0 }];
        for (let depth = 0; depth < one.codebookSizes.length && prefixes.length > 0; depth++) {
          const rows = prefixes.map(() => randomLogits(random, one));
          const expected = bruteForceStep(one, prefixes, rows, beamWidth);
          const found = runKernel(kernel, one, prefixes, rows, beamWidth);
          expect(found.count).toBe(expected.children.length);
          expected.children.forEach(({ codes, score }, rank) => {
            expect(found.parentBeams[rank]).toBe(expected.parents[rank]);
            expect(found.codes[rank]).toBe(codes.at(-1));
            expect(found.scores[rank]).toBe(score);
            expect({ lo: found.nodeLo[rank], hi: found.nodeHi[rank] }).toEqual(leafRange(one.catalog, codes));
          });
          prefixes = expected.children;
        }
      }),
      seeded('step against brute force', 350),
    );
  });

  it('finds every live item in the order of their scores, where the beam covers every live prefix', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const one = randomCase(random);
        const logitsByPrefix = new Map<string, Float32Array>();
        const logitsOf = (codes: readonly number[]) => {
          const key = codes.join();
          const logits = logitsByPrefix.get(key) ?? randomLogits(random, one);
          logitsByPrefix.set(key, logits);
          return logits;
        };
        const expected = bruteForceDecode(one, logitsOf);
        const beamWidth = Math.max(1, one.liveSids.length);
        let prefixes: Prefix[] = [{ codes: [], score: 0 }];
        for (let depth = 0; depth < one.codebookSizes.length && prefixes.length > 0; depth++) {
          const found = runKernel(
            kernel,
            one,
            prefixes,
            prefixes.map(({ codes }) => logitsOf(codes)),
            beamWidth,
          );
          prefixes = Array.from({ length: found.count }, (_, rank) => ({
            codes: [...prefixes[found.parentBeams[rank]].codes, found.codes[rank]],
            score: found.scores[rank],
          }));
        }
        // Equal scores come in the order of their beams; only the order among them is left open here.
        prefixes.sort((a, b) => b.score - a.score || compareCodes(a.codes, b.codes));
        expect(prefixes).toEqual(expected);
      }),
      seeded('decode against brute force', 350),
    );
  });
});
