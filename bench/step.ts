import { mkdirSync, writeFileSync } from 'node:fs';
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
import { logSumExp } from '../src/kernels/log-probs.js';
import { buildTrie, constraintSetFromLeaves, prepareExclusions } from '../src/static-trie/index.js';
import { makeRows } from './static-trie/rows.js';
import { logitPool, seededRandom } from './step/logits.js';
import { describeMachine } from './step/machine.js';
import { Neighbours } from './step/neighbours.js';
import { boundedMapStep, buildNestedMap, nestedMapStep, nodesOfBeams } from './step/nested-map.js';
import { Paths } from './step/paths.js';
import { median } from './step/statistics.js';
import { type Paired, paired, shown, timeUs } from './step/timing.js';

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
let reads = 0;

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
await compareBusyNeighbours();
await compareNestedMap();
if (values.out !== undefined) {
  mkdirSync(dirname(values.out), { recursive: true });
  const parameters = { rows: trie.leafCount, levels: LEVELS, vocabSize: VOCAB, iterations };
  writeFileSync(
    values.out,
    `${JSON.stringify({ ...describeMachine(one.stepName), ...parameters, results }, null, 2)}\n`,
  );
}

/** Times floor and step by turns at each level, on logits that come round only after many others. */
function measure(kernel: KernelChoice, constraints: readonly Constraint[], beamWidth: number): Paired {
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
      const out = normalizers.subarray(0, rows);
      // Buffers go round: whoever runs finds logits that were read equally long ago.
      const runs = [
        () => {
          const logits = paths.logits(reads++).subarray(0, rows * VOCAB);
          floors[depth].push(timeUs(() => kernel.logSumExpRows!(logits, VOCAB, out)));
        },
        () => {
          const input = paths.input(depth, reads++);
          steps[depth].push(timeUs(() => kernel.step(paths.batch, input)));
        },
      ];
      // Who goes first finds other things in the caches than who follows.
      for (const run of turn % 2 === 0 ? runs : runs.reverse()) run();
    }
  }
  return paired(steps, floors);
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

/**
 * Two threads against one while other processes keep cores busy: a thread that the system doesn't let run must not
 * hold a step up.
 */
async function compareBusyNeighbours(): Promise<void> {
  for (const busy of [0, 1, 2]) {
    const neighbours = await Neighbours.start(busy);
    try {
      for (const [requests, beamWidth] of [
        [2, 70],
        [32, 50],
      ] as const) {
        const constraints = new Array<Constraint>(requests).fill(all);
        const what = `two threads against one, B=${requests} M=${beamWidth}, ${busy} cores busy`;
        const timed = compareSides(what, [two, one], [constraints, constraints], beamWidth);
        console.log(`  p99 ${timed.leftP99Us.toFixed(1)} us, ${timed.rightP99Us.toFixed(1)} us`);
      }
    } finally {
      await neighbours.stop();
    }
  }
}

/** Two ways to constrain the same step, by turns, on one thread. */
function comparePaired(
  what: string,
  left: readonly Constraint[],
  right: readonly Constraint[],
  beamWidth: number,
): void {
  compareSides(what, [one, one], [left, right], beamWidth);
}

function compareSides(
  what: string,
  kernels: readonly KernelChoice[],
  constraints: readonly (readonly Constraint[])[],
  beamWidth: number,
): Paired {
  const paths = kernels.map((kernel, side) => {
    const made = makePaths(kernel, constraints[side], beamWidth);
    made.verify(kernel, LEVELS);
    return made;
  });
  const times = paths.map(() => Array.from({ length: LEVELS }, (): number[] => []));
  for (let depth = 0; depth < LEVELS; depth++) {
    for (let turn = 0; turn < iterations; turn++) {
      // Who goes first finds other things in the caches than who follows.
      for (const side of turn % 2 === 0 ? [0, 1] : [1, 0]) {
        const made = paths[side];
        made.load(turn, depth);
        const input = made.input(depth, reads++);
        times[side][depth].push(timeUs(() => kernels[side].step(made.batch, input)));
      }
    }
  }
  const timed = paired(times[0], times[1]);
  results.push({ what, ...timed });
  console.log(`${what}: ${shown(timed.leftUs, 1)} us, ${shown(timed.rightUs, 1)} us, ${shown(timed.ratio)}x`);
  return timed;
}

/**
 * The CPU trie of nested maps at a million SIDs, whole steps: the maps' walk and sort, for which they are given the
 * beams' nodes, and the logSumExp of the same rows in JavaScript.
 */
async function compareNestedMap(): Promise<void> {
  const rowCount = Math.min(1_000_000, Number(values.rows));
  const rows = uniformRows(rowCount);
  const built = await buildTrie(rows, { threads: 2 });
  const root = buildNestedMap(rows.codes, rowCount, LEVELS);
  const constraints = new Array<Constraint>(2).fill({ trie: built.trie, live: null, dead: null });
  const paths = makePaths(one, constraints, 70);
  const js = createJsKernel();
  const { batch } = paths;
  const turns = 31;
  const times = { sortedMaps: 0, boundedMaps: 0, jsLogSumExp: 0, native: 0, js: 0 };
  for (let depth = 0; depth < LEVELS; depth++) {
    const found: string[] = [];
    // Whoever runs has the caches to himself: what milliseconds of maps leave in them says nothing about a step.
    const timeTurns = (name: keyof typeof times, run: (turn: number) => () => void) => {
      const taken = Array.from({ length: turns }, (_, turn) => timeUs(run(turn)));
      times[name] += median(taken) / LEVELS;
    };
    const load = (turn: number) => {
      const rows = paths.load(turn, depth);
      const input = paths.input(depth, turn);
      return { input, rows, logits: (input.logits as Float32Array).subarray(0, rows * VOCAB) };
    };
    timeTurns('native', (turn) => {
      const { input } = load(turn);
      return () => one.step(batch, input);
    });
    for (let turn = 0; turn < turns; turn++) {
      one.step(batch, load(turn).input);
      found.push(String(Array.from(batch.codes.subarray(0, batch.counts[0]))));
    }
    timeTurns('js', (turn) => {
      const { input } = load(turn);
      return () => js.step(batch, input);
    });
    timeTurns('jsLogSumExp', (turn) => {
      const { rows, logits } = load(turn);
      return () => {
        for (let row = 0; row < rows; row++) logSumExp(logits.subarray(row * VOCAB, (row + 1) * VOCAB));
      };
    });
    for (const [name, mapStep] of [
      ['sortedMaps', nestedMapStep],
      ['boundedMaps', boundedMapStep],
    ] as const) {
      timeTurns(name, (turn) => {
        const { input, logits } = load(turn);
        one.step(batch, input);
        const asked = Array.from(batch.firstRows.subarray(0, 2), (first, request) => ({
          nodes: nodesOfBeams(root, batch, first, batch.beamCounts[request], depth),
          scores: Array.from(batch.scores.subarray(first, first + batch.beamCounts[request])),
          normalizers: batch.normalizers.slice(first),
          logits: logits.subarray(first * VOCAB),
        }));
        return () => {
          const codes = asked.map((one) =>
            mapStep(one.nodes, one.scores, one.normalizers, one.logits, VOCAB, 70).map(({ code }) => code),
          );
          if (String(codes[0]) !== found[turn]) throw new Error(`${name} differ at step ${depth}`);
        };
      });
    }
  }
  const ratio = (times.sortedMaps + times.jsLogSumExp) / times.native;
  const boundedRatio = (times.boundedMaps + times.jsLogSumExp) / times.native;
  results.push({ what: 'nested maps at 1M', ...times, ratio, boundedRatio });
  console.log(
    `nested maps: ${times.sortedMaps.toFixed(0)} us (with a bound ${times.boundedMaps.toFixed(0)} us) beside a logSumExp of ${times.jsLogSumExp.toFixed(0)} us, js kernel ${times.js.toFixed(0)} us, native ${times.native.toFixed(1)} us: ${ratio.toFixed(0)}x (${boundedRatio.toFixed(0)}x)`,
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

function report(what: string, timed: Paired): void {
  const { leftUs: stepUs, rightUs: floorUs, ratio, differenceUs: constraintUs } = timed;
  const levels = timed.levels.map(({ leftUs, rightUs }) => ({ stepUs: leftUs, floorUs: rightUs }));
  results.push({ what, stepUs, floorUs, ratio, constraintUs, stepP99Us: timed.leftP99Us, levels });
  console.log(
    `${what}: step ${shown(stepUs, 1)} us, floor ${shown(floorUs, 1)} us, ${shown(ratio)}x, constraint ${shown(constraintUs, 1)} us`,
  );
}
