import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseKernel } from '../../src/kernels/index.js';
import { buildTrie, openTrieFile, writeTrieFile } from '../../src/static-trie/index.js';
import type { NumberRows } from '../baselines/js-build.js';
import { type Contender, runContest } from '../harness/contest.js';
import type {
  CaseContext,
  CaseResult,
  PlannedCase,
  RivalResult,
  RunOptions,
  Size,
  Suite,
} from '../harness/types.js';
import { BuildContest, jsBuilder, nativeBuilders } from './build/builders.js';
import { Lexsort } from './build/lexsort.js';
import { canMeasurePeak, peakExtras, peakOf } from './build/peak.js';
import { drawRows, type RowOptions } from './build/rows.js';
import { sidShapes } from './sids.js';

const LEVELS = 8;
const codebookSizes: Record<Size, number> = { small: 64, quick: 2048, full: 2048 };
const values = {
  constraints: { small: [500, 5000], quick: [1e5, 1e6], full: [1e5, 1e6, 1e7, 2e7] },
  shape: { small: 5000, quick: 1e5, full: 2e6 },
  open: { small: [5000], quick: [1e6], full: [2e7] },
} as const;
/** What takes longer than it tells is left out. */
const mostRows: Record<Size, { js: number; jsSort: number; lexsort: number }> = {
  small: { js: 5000, jsSort: 5000, lexsort: 5000 },
  quick: { js: 1e5, jsSort: 1e5, lexsort: 1e6 },
  full: { js: 1e6, jsSort: 1e7, lexsort: 2e7 },
};
/** How often all that take part are run: those that are fast, and those that take seconds. */
const effort: Record<Size, { fastMs: number; slowMs: number; least: number; most: number }> = {
  small: { fastMs: 0, slowMs: 0, least: 2, most: 2 },
  quick: { fastMs: 500, slowMs: 500, least: 1, most: 20 },
  full: { fastMs: 8000, slowMs: 3000, least: 7, most: 50 },
};

const memory: { rows?: { key: string; rows: NumberRows }; lexsort?: Lexsort | string } = {};

/** Static tries from unsorted SIDs. */
export const build: Suite = {
  name: 'build',
  about:
    'Building a static trie from unsorted SIDs, beside a sort and build in JavaScript, and numpy’s sort.',
  axes: Object.keys(values),
  plan,
  async close() {
    delete memory.rows;
    if (memory.lexsort instanceof Lexsort) await memory.lexsort.close();
    delete memory.lexsort;
  },
};

function plan({ size, seed, large }: RunOptions): PlannedCase[] {
  const planned: PlannedCase[] = [];
  const optionsOf = (shape: RowOptions['shape'], rowCount: number): RowOptions => {
    return { shape, rowCount, codebookSize: codebookSizes[size], levels: LEVELS, seed };
  };
  const add = (axis: string, at: number | string, options: RowOptions, run: Run) => {
    const one = { axis, at, options };
    const needsBytes = options.rowCount * BYTES_A_ROW;
    const seconds =
      baseSeconds[size] + options.rowCount * secondsARow[size][axis === 'open' ? 'open' : 'build'];
    planned.push({ axis, at, needsBytes, seconds, run: (context) => run(one, context) });
  };
  const counts: number[] = [...values.constraints[size]];
  if (large && size === 'full') counts.push(1e8);
  for (const count of counts) add('constraints', count, optionsOf('uniform', count), runBuild);
  for (const count of values.open[size]) add('open', count, optionsOf('uniform', count), runOpen);
  for (const shape of sidShapes) add('shape', shape, optionsOf(shape, values.shape[size]), runBuild);
  return planned;
}

const baseSeconds: Record<Size, number> = { small: 0.4, quick: 0.5, full: 2 };
/** Processes that build, numpy's sort, and all kernels; or a file, and the best kernel alone. */
const secondsARow: Record<Size, { build: number; open: number }> = {
  small: { build: 2.5e-6, open: 5e-7 },
  quick: { build: 2.5e-6, open: 5e-7 },
  full: { build: 7e-6, open: 1e-6 },
};
/** This process with the rows and a trie, and beside it numpy or another process that builds. */
const BYTES_A_ROW = 110;

interface BuildCase {
  axis: string;
  at: number | string;
  options: RowOptions;
}
type Run = (one: BuildCase, context: CaseContext) => Promise<CaseResult>;

/** Drawn once for cases that follow each other. */
function rowsFor(options: RowOptions, { say }: CaseContext): NumberRows {
  const key = JSON.stringify(options);
  if (memory.rows?.key !== key) {
    say('drawing the rows');
    delete memory.rows;
    memory.rows = { key, rows: drawRows(options) };
  }
  return memory.rows!.rows;
}

async function runBuild(one: BuildCase, context: CaseContext): Promise<CaseResult> {
  const { options } = one;
  const { rowCount } = options;
  const { size } = context.options;
  const most = mostRows[size];
  const contest = new BuildContest(rowsFor(options, context));
  const native = nativeBuilders();
  const watched = watchedCount(one, size);
  const fast = native.map((builder, index) =>
    contest.ours(builder, index < watched ? () => peak(builder, one, context) : undefined),
  );
  const js = contest.ours(jsBuilder);
  if (fast.length === 0) fast.push(js);
  const [yardstick] = fast;
  const { fastMs, slowMs } = effort[size];
  const rivals = await contend(fast, yardstick, { budgetMs: fastMs, isSlow: false }, context);

  const slow = [contest.inJs(), contest.byLexsort(await lexsort())];
  if (!fast.includes(js)) slow.unshift(js);
  const limits: Record<string, number> = {
    js: most.js,
    'js-sort-and-build': most.jsSort,
    'numpy-lexsort': most.lexsort,
  };
  for (const contender of slow) {
    const limit = limits[contender.name];
    if (rowCount > limit)
      contender.skipped ??= `it is timed up to ${limit} rows: beyond that it takes too long`;
  }
  // The yardstick runs once more, so that each ratio is of turns that follow each other. What it took then is noted
  // with each ratio; its row is the first run's, of more turns.
  const others = await contend([yardstick, ...slow], yardstick, { budgetMs: slowMs, isSlow: true }, context);
  return resultOf(one, [...rivals, ...others.slice(1)]);
}

/** Of how many builders the peak of memory is measured: on one thread and on two; instruction sets take the same. */
function watchedCount({ axis, options }: BuildCase, size: Size): number {
  if (!canMeasurePeak || axis !== 'constraints') return 0;
  const isLargest = options.rowCount >= Math.max(...values.constraints[size]);
  if (size === 'small') return isLargest ? 1 : 0;
  return isLargest || size === 'full' ? 2 : 0;
}

/** A trie's file opened, which a restart does, beside building the trie again. */
async function runOpen(one: BuildCase, context: CaseContext): Promise<CaseResult> {
  const rows = rowsFor(one.options, context);
  const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
  try {
    context.say('writing the file');
    const contest = new BuildContest(rows);
    const kernel = chooseKernel();
    const built = await buildTrie(rows, { threads: 1 }, kernel);
    const { fault: wrong } = contest.judge(built);
    if (wrong !== undefined) throw new Error(`the trie to be written is wrong: ${wrong}`);
    const path = join(folder, 'trie');
    writeTrieFile(path, built.trie);
    const open: Contender = {
      name: 'open-file',
      kind: 'ours',
      verify: () => contest.judge({ ...built, trie: openTrieFile(path) }),
      run: () => openTrieFile(path),
    };
    const [best = jsBuilder] = nativeBuilders();
    const contenders = [open, contest.ours(best)];
    const budgetMs = effort[context.options.size].fastMs;
    return resultOf(one, await contend(contenders, open, { budgetMs, isSlow: false }, context));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param isSlow whether checking is warm-up enough */
async function contend(
  contenders: readonly Contender[],
  yardstick: Contender,
  { budgetMs, isSlow }: { budgetMs: number; isSlow: boolean },
  { options, say, signal }: CaseContext,
): Promise<RivalResult[]> {
  const { least, most } = effort[options.size];
  let roundMs = 0;
  const watched = contenders.map((contender) => ({
    ...contender,
    verify: async () => {
      const whole = performance.now();
      const verdict = await contender.verify();
      const start = isSlow ? whole : performance.now();
      if (!isSlow && verdict.fault === undefined) await contender.run(-1);
      roundMs += performance.now() - start;
      return verdict;
    },
  }));
  return runContest(watched, {
    unit: 'ms',
    warmUp: 0,
    turns: () => Math.max(least, Math.min(most, Math.floor(budgetMs / roundMs))),
    yardsticks: [yardstick.name],
    signal,
    say,
  });
}

async function peak(
  { kernel, threads }: { kernel: string; threads: number },
  one: BuildCase,
  context: CaseContext,
) {
  context.say(`building in a process of its own, ${threads} threads`);
  const found = await peakOf(one.options, kernel, threads, context.signal);
  return peakExtras(found);
}

async function lexsort(): Promise<Lexsort | string> {
  memory.lexsort ??= await Lexsort.start();
  return memory.lexsort;
}

function resultOf({ axis, at, options }: BuildCase, rivals: RivalResult[]): CaseResult {
  const { shape, rowCount, codebookSize, levels, seed = 0 } = options;
  const parameters = { shape, items: rowCount, vocabulary: codebookSize, sidLength: levels, seed };
  return { suite: 'build', axis, at, parameters, rivals };
}
