import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import {
  allBits,
  type Constraint,
  chooseKernel,
  countBits,
  createJsKernel,
  isBitSet,
  type KernelChoice,
  setBit,
  type TrieArrays,
  wordsFor,
} from '../src/kernels/index.js';
import { buildTrie, constraintSetFromLeaves, prepareExclusions } from '../src/static-trie/index.js';
import { makeRows } from './static-trie/rows.js';
import { logitPool, seededRandom } from './step/logits.js';
import { buildNestedMap, nestedMapStep, nodesOfBeams } from './step/nested-map.js';
import { Paths } from './step/paths.js';
import { type Interval, intervalOfMedian, median } from './step/statistics.js';

/**
 * The decode step at the paper's size, beside the floor of every step: the logSumExp of the same logits. Every kernel
 * is checked against the js kernel before it is timed, and rivals take turns.
 */
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    iterations: { type: 'string', default: '300' },
    out: { type: 'string' },
  },
});
const LEVELS = 8;
const VOCAB = 2048;
const iterations = Number(values.iterations);
const random = seededRandom(5);
const results: Record<string, unknown>[] = [];

interface Timed {
  /** [levels] medians. */
  levels: { stepUs: number; floorUs: number }[];
  stepUs: number;
  floorUs: number;
  ratio: Interval;
  constraintUs: Interval;
}

const one = chooseKernel(undefined, 1);
const two = chooseKernel(undefined, 2);
if (one.logSumExpRows === null) throw new Error('the native addon has not been built; npm run build:native');

console.log(`building ${values.rows} SIDs`);
const { trie, leafItems } = await buildTrie(uniformRows(Number(values.rows)), { threads: 2 });
const all: Constraint = { trie, live: null, dead: null };

for (const [requests, beamWidth] of [
  [2, 70],
  [32, 50],
] as const) {
  for (const [threads, kernel] of [
    [1, one],
    [2, two],
  ] as const) {
    const constraints = new Array<Constraint>(requests).fill(all);
    report(`B=${requests} M=${beamWidth}, ${threads} threads`, measure(kernel, constraints, beamWidth));
  }
}
await compareSets();
compareMixedSets();
compareExclusions();
await compareNestedMap();
if (values.out !== undefined) {
  mkdirSync(dirname(values.out), { recursive: true });
  const machine = `${cpus().length} x ${cpus()[0].model}`;
  const head = {
    machine,
    kernel: one.stepName,
    rows: trie.leafCount,
    levels: LEVELS,
    vocabSize: VOCAB,
    iterations,
  };
  writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
}

/** Times floor and step by turns at each level, on logits that come round only after many others. */
function measure(kernel: KernelChoice, constraints: readonly Constraint[], beamWidth: number): Timed {
  const paths = makePaths(kernel, constraints, beamWidth);
  paths.verify(kernel, LEVELS);
  const normalizers = new Float32Array(constraints.length * beamWidth);
  const floors: number[][] = [];
  const steps: number[][] = [];
  for (let depth = 0; depth < LEVELS; depth++) {
    floors.push([]);
    steps.push([]);
    for (let turn = 0; turn < iterations; turn++) {
      const rows = paths.load(turn, depth);
      const logits = paths.logits(turn).subarray(0, rows * VOCAB);
      const out = normalizers.subarray(0, rows);
      floors[depth].push(timeUs(() => kernel.logSumExpRows!(logits, VOCAB, out)));
      const input = paths.input(depth, turn + 7);
      steps[depth].push(timeUs(() => kernel.step(paths.batch, input)));
    }
  }
  return summary(floors, steps);
}

/** Means over the levels, turn by turn, so that medians and their intervals are of whole decodes. */
function summary(floors: number[][], steps: number[][]): Timed {
  const meanOf = (times: number[][], turn: number) =>
    times.reduce((sum, level) => sum + level[turn], 0) / times.length;
  const turns = Array.from({ length: iterations }, (_, turn) => ({
    floor: meanOf(floors, turn),
    step: meanOf(steps, turn),
  }));
  return {
    levels: steps.map((level, depth) => ({ stepUs: median(level), floorUs: median(floors[depth]) })),
    stepUs: median(turns.map(({ step }) => step)),
    floorUs: median(turns.map(({ floor }) => floor)),
    ratio: intervalOfMedian(turns.map(({ step, floor }) => step / floor)),
    constraintUs: intervalOfMedian(turns.map(({ step, floor }) => step - floor)),
  };
}

/** A set over the shared trie against a trie of its own, at every selectivity. */
async function compareSets(): Promise<void> {
  for (const fraction of [1, 0.5, 0.1, 0.01, 0.001, 0.0001]) {
    const leafBits = fraction === 1 ? allBits(trie.leafCount) : randomLeaves(fraction);
    const overlay: Constraint = {
      trie,
      live: constraintSetFromLeaves(trie, leafItems, leafBits).live,
      dead: null,
    };
    const dedicated: Constraint = { trie: await dedicatedTrie(leafBits), live: null, dead: null };
    comparePaired(
      `set of ${fraction * 100} % against a trie of its own`,
      new Array(2).fill(overlay),
      new Array(2).fill(dedicated),
      70,
    );
  }
}

function compareMixedSets(): void {
  const sets = Array.from({ length: 32 }, (): Constraint => {
    const live = constraintSetFromLeaves(trie, leafItems, randomLeaves(0.1)).live;
    return { trie, live, dead: null };
  });
  comparePaired('32 sets in a batch against one', sets, new Array(32).fill(sets[0]), 50);
}

function compareExclusions(): void {
  const items = Array.from({ length: 500 }, () => Math.floor(random() * leafItems.itemCount));
  const excluded = [...new Set(items)].sort((a, b) => a - b);
  const dead = prepareExclusions(leafItems, null, excluded).dead;
  comparePaired(
    '500 exclusions against none',
    new Array(2).fill({ trie, live: null, dead }),
    new Array(2).fill(all),
    70,
  );
}

/** Two ways to constrain the same step, by turns. */
function comparePaired(
  what: string,
  left: readonly Constraint[],
  right: readonly Constraint[],
  beamWidth: number,
): void {
  const paths = [left, right].map((constraints) => {
    const made = makePaths(one, constraints, beamWidth);
    made.verify(one, LEVELS);
    return made;
  });
  const times = paths.map(() => Array.from({ length: LEVELS }, (): number[] => []));
  for (let depth = 0; depth < LEVELS; depth++) {
    for (let turn = 0; turn < iterations; turn++) {
      paths.forEach((made, side) => {
        made.load(turn, depth);
        const input = made.input(depth, turn + side * 7);
        times[side][depth].push(timeUs(() => one.step(made.batch, input)));
      });
    }
  }
  const { stepUs, floorUs, ratio } = summary(times[1], times[0]);
  results.push({ what, leftUs: stepUs, rightUs: floorUs, ratio });
  console.log(`${what}: ${stepUs.toFixed(1)} us, ${floorUs.toFixed(1)} us, ${shown(ratio)}x`);
}

/** The CPU trie of nested maps at a million SIDs, given the normalizers, so that only its walk and sort count. */
async function compareNestedMap(): Promise<void> {
  const rowCount = Math.min(1_000_000, Number(values.rows));
  const rows = uniformRows(rowCount);
  const built = await buildTrie(rows, { threads: 2 });
  const root = buildNestedMap(rows.codes, rowCount, LEVELS);
  const constraints = new Array<Constraint>(2).fill({ trie: built.trie, live: null, dead: null });
  const paths = makePaths(one, constraints, 70);
  const js = createJsKernel();
  const times = { map: 0, native: 0, js: 0 };
  for (let depth = 0; depth < LEVELS; depth++) {
    const turns: Record<keyof typeof times, number[]> = { map: [], native: [], js: [] };
    for (let turn = 0; turn < 15; turn++) {
      paths.load(turn, depth);
      const input = paths.input(depth, turn);
      turns.native.push(timeUs(() => one.step(paths.batch, input)));
      const expected = Array.from(paths.batch.codes.subarray(0, paths.batch.counts[0]));
      const { beamCounts, scores, normalizers } = paths.batch;
      let found: number[] = [];
      turns.map.push(
        timeUs(() => {
          let first = 0;
          beamCounts.forEach((count, request) => {
            const nodes = nodesOfBeams(root, paths.batch, first, count, depth);
            const kept = nestedMapStep(
              nodes,
              Array.from(scores.subarray(first, first + count)),
              normalizers.subarray(first),
              (input.logits as Float32Array).subarray(first * VOCAB),
              VOCAB,
              70,
            );
            if (request === 0) found = kept.map(({ code }) => code);
            first += count;
          });
        }),
      );
      if (String(found) !== String(expected)) throw new Error(`the nested maps differ at step ${depth}`);
      turns.js.push(timeUs(() => js.step(paths.batch, input)));
    }
    for (const name of ['map', 'native', 'js'] as const) times[name] += median(turns[name]) / LEVELS;
  }
  const ratio = times.map / times.native;
  results.push({ what: 'nested maps at 1M', ...times, ratio });
  console.log(
    `nested maps ${times.map.toFixed(0)} us, js kernel ${times.js.toFixed(0)} us, native ${times.native.toFixed(1)} us: ${ratio.toFixed(0)}x`,
  );
}

function makePaths(kernel: KernelChoice, constraints: readonly Constraint[], beamWidth: number): Paths {
  const pool = logitPool(constraints.length * beamWidth * VOCAB, random);
  return new Paths(kernel, constraints, { beamWidth, vocabSize: VOCAB, pool, count: 64 });
}

function uniformRows(rowCount: number) {
  const codebookSizes = new Array<number>(LEVELS).fill(VOCAB);
  return { codebookSizes, rowCount, codes: makeRows('uniform', rowCount, VOCAB) };
}

function randomLeaves(fraction: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(trie.leafCount));
  const wanted = Math.max(1, Math.round(trie.leafCount * fraction));
  if (fraction >= 0.2) {
    for (let leaf = 0; leaf < trie.leafCount; leaf++) if (random() < fraction) setBit(bits, leaf);
  } else {
    for (let set = 0; set < wanted; set++) setBit(bits, Math.floor(random() * trie.leafCount));
  }
  return bits;
}

async function dedicatedTrie(leafBits: Uint32Array): Promise<TrieArrays> {
  const count = countBits(leafBits, 0, trie.leafCount);
  const codes = new Uint16Array(count * LEVELS);
  let row = 0;
  for (let leaf = 0; leaf < trie.leafCount; leaf++) {
    if (!isBitSet(leafBits, leaf)) continue;
    codes.set(trie.rows.subarray(leaf * LEVELS, (leaf + 1) * LEVELS), row++ * LEVELS);
  }
  const built = await buildTrie(
    { codebookSizes: trie.codebookSizes, rowCount: count, codes },
    { threads: 2 },
  );
  return built.trie;
}

function report(what: string, timed: Timed): void {
  results.push({ what, ...timed });
  const { stepUs, floorUs, ratio, constraintUs } = timed;
  console.log(
    `${what}: step ${stepUs.toFixed(1)} us, floor ${floorUs.toFixed(1)} us, ${shown(ratio)}x, constraint ${shown(constraintUs)} us`,
  );
}

function shown({ median: middle, low, high }: Interval): string {
  return `${middle.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}

function timeUs(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1000;
}
