import type { CaseResult, RivalResult, SuiteReport, Unit } from '../harness/types.js';
import { baseValue, shown, shownInterval, shownTimes } from './format.js';
import { casesOf, isTimed, type Results, type Timed, timedOf, yardstickOf } from './input.js';
import { comparisonsOf, shownComparison } from './ratios.js';

/** What was measured for a goal. */
export interface Reading {
  /** In the unit that the goal's limit is in: seconds, bytes, shares or ratios. */
  value: number;
  words: string;
  /** The file that it is from. */
  file: string;
}

export interface Goal {
  what: string;
  /** What others took, measured elsewhere: context, and no race. */
  elsewhere: string;
  /** In words. */
  goal: string;
  /** Absent where the figure is context only. */
  isMet?: (value: number) => boolean;
  /** Undefined where no result has it. */
  read(results: Results): Reading | undefined;
}

export interface Outcome {
  goal: Goal;
  reading: Reading | undefined;
  state: 'met' | 'missed' | 'not measured yet' | 'no goal';
}

export function judgeGoals(results: Results): Outcome[] {
  return [...goals, ...cudaGoals(results)].map((goal) => {
    const reading = goal.read(results);
    if (reading === undefined) return { goal, reading, state: 'not measured yet' };
    if (goal.isMet === undefined) return { goal, reading, state: 'no goal' };
    return { goal, reading, state: goal.isMet(reading.value) ? 'met' : 'missed' };
  });
}

const atMost = (limit: number) => (value: number) => value <= limit;
const atLeast = (limit: number) => (value: number) => value >= limit;

const MILLION = 1_000_000;
const PAPER = { constraints: 20 * MILLION, vocabulary: 2048, sidLength: 8, batch: 2, beams: 70 };

/** A time beside one that somebody else's program took on another machine: how many times as fast. */
function against(reference: number): (reading: Reading | undefined) => Reading | undefined {
  return (reading) => {
    if (reading === undefined) return undefined;
    const factor = reference / reading.value;
    return { ...reading, value: factor, words: `${reading.words}: ${shownTimes(factor)}` };
  };
}

export const goals: readonly Goal[] = [
  ...[1, 2].map((threads): Goal => {
    const factor = [40, 75][threads - 1];
    return {
      what: `Index of 20M SIDs from unsorted rows, ${threadsShown(threads)}`,
      elsewhere: 'reference in numpy: 25.6 s from uint16',
      goal: `at least ${factor}x as fast`,
      isMet: atLeast(factor),
      read: (results) => against(25.6)(buildTime(results, 20 * MILLION, threads)),
    };
  }),
  ...[1, 2].map((threads): Goal => {
    const factor = [15, 25][threads - 1];
    return {
      what: `Index of 1M SIDs from unsorted rows, ${threadsShown(threads)}`,
      elsewhere: 'reference in numpy: 0.62 s from uint16',
      goal: `at least ${factor}x as fast`,
      isMet: atLeast(factor),
      read: (results) => against(0.62)(buildTime(results, MILLION, threads)),
    };
  }),
  {
    what: 'Peak memory of that build, 20M',
    elsewhere: 'reference in numpy: 8.6 to 9.2 GB',
    goal: 'at most 1.1 GB',
    isMet: atMost(1.1e9),
    read: (results) => worstExtra(results, 'build', 20 * MILLION, (name) => name.includes('peak'), 'bytes'),
  },
  ...[19, 14].map(
    (bytes): Goal => ({
      what: `Index, bytes an item, 20M${bytes === 19 ? '' : ', in the long run'}`,
      elsewhere: 'reference: 71.5 B/item',
      goal: `at most ${bytes} B/item`,
      isMet: atMost(bytes),
      read: (results) =>
        worstExtra(results, 'build', 20 * MILLION, () => true, 'bytes/item') ??
        worstExtra(results, 'memory', 20 * MILLION, (name) => !name.includes('resident'), 'bytes/item') ??
        bytesOfStep(results),
    }),
  ),
  ...[1, 2].map((threads): Goal => {
    const [factor, reference] = threads === 1 ? [14, 576] : [21, 422];
    return {
      what: `Decode step, B=2 M=70 V=2048, 20M, ${threadsShown(threads)}`,
      elsewhere: `reference in PyTorch on the CPU: ${reference} µs`,
      goal: `at least ${factor}x as fast`,
      isMet: atLeast(factor),
      read: (results) => against(reference * 1e-6)(stepTime(results, PAPER, threads)),
    };
  }),
  {
    what: 'Of which the constraint: the step beyond the log-sum-exp',
    elsewhere: 'STATIC on a TPU v6e: 33 µs',
    goal: 'at most 8 µs, 1 thread',
    isMet: atMost(8e-6),
    read: (results) => {
      const best = bestOf(stepCase(results, PAPER));
      return extraReading(best, 'constraint', 'step');
    },
  },
  ...[1, 2].map((threads): Goal => {
    const [factor, reference] = threads === 1 ? [7.7, 7818] : [10, 4635];
    return {
      what: `Decode step, B=32 M=50, 20M, ${threadsShown(threads)}`,
      elsewhere: `reference in PyTorch on the CPU: ${reference} µs`,
      goal: `at least ${factor}x as fast`,
      isMet: atLeast(factor),
      read: (results) =>
        against(reference * 1e-6)(stepTime(results, { ...PAPER, batch: 32, beams: 50 }, threads)),
    };
  }),
  ...[1, 2].map(
    (threads): Goal => ({
      what: `Decode step, V=8192, B=2 M=70, 20M, ${threadsShown(threads)}`,
      elsewhere: '–',
      goal: 'none: context',
      read: (results) => stepTime(results, { ...PAPER, vocabulary: 8192 }, threads),
    }),
  ),
  {
    what: 'Step of the CPU trie (nested Maps, all in JavaScript) over ours, 1M, B=2 M=70',
    elsewhere: 'STATIC over its CPU trie, TPU v6e: 948x',
    goal: 'at least 230x',
    isMet: atLeast(230),
    read: (results) =>
      ratioReading(stepCase(results, { ...PAPER, constraints: MILLION }), 'nested-map-all-js'),
  },
  {
    what: 'Set laid over the trie against a trie of its own, 100 % to 0.01 %, worst',
    elsewhere: 'reference: one trie for each set',
    goal: 'at most 1.06x',
    isMet: atMost(1.06),
    read: (results) =>
      worst(
        casesOf(results.suites.get('step'), 'selectivity')
          .filter(({ at, parameters }) => Number(at) >= 1e-4 && parameters.constraints === 20 * MILLION)
          .map((one) => ratioReading(one, /^native-\w+-overlay$/)),
      ),
  },
  {
    what: 'Memory of one set over 20M items',
    elsewhere: 'reference: 1.43 GB at 100 %',
    goal: 'at most 3.1 MB',
    isMet: atMost(3.1e6),
    read: (results) =>
      worst(
        ['sets', 'step'].flatMap((suite) =>
          casesOf(results.suites.get(suite), 'selectivity')
            .filter(isOf20M)
            .map((one) => extraReading(named(one, /^native-\w+-overlay$/), 'bytes', suite)),
        ),
      ),
  },
  ...['uniform', 'real-shaped'].map(
    (shape): Goal => ({
      what: `A rule's items known to set decodable, 20M, ${shape} SIDs`,
      elsewhere: 'reference: built anew, 25.6 s',
      goal: 'at most 3 ms',
      isMet: atMost(3e-3),
      read: (results) =>
        worst(
          casesOf(results.suites.get('sets'), 'shape')
            .filter((one) => one.at === shape && isOf20M(one))
            .map((one) => timeReading(bestOf(one), 'sets')),
        ),
    }),
  ),
  {
    what: 'The same over skewed SIDs, one item in 20 on a leaf of several, worst selectivity',
    elsewhere: '–',
    goal: 'at most 3 ms',
    isMet: atMost(3e-3),
    read: (results) =>
      worst(
        casesOf(results.suites.get('sets'), 'selectivity')
          .filter(isOf20M)
          .map((one) => timeReading(bestOf(one), 'sets')),
      ),
  },
  {
    what: 'Rule of 4 predicates over raw columns, 20M, 1 thread',
    elsewhere: '–',
    goal: 'at most 12 ms',
    isMet: atMost(12e-3),
    read: (results) =>
      timeReading(
        bestOf(
          casesOf(results.suites.get('rules'), 'predicates').find((one) => one.at === 4 && isOf20M(one)),
        ),
        'rules',
      ),
  },
  {
    what: '500 excluded items: preparing them, once a request',
    elsewhere: 'reference: not possible',
    goal: 'at most 36 µs',
    isMet: atMost(36e-6),
    read: ({ suites }) =>
      timeReading(
        bestOf(casesOf(suites.get('sets'), 'exclusions').find((one) => one.at === 500 && isOf20M(one))),
        'sets',
      ),
  },
  {
    what: 'Step with 500 excluded items over one without',
    elsewhere: 'reference: not possible',
    goal: 'at most 1.1x',
    isMet: atMost(1.1),
    read: (results) =>
      ratioReading(
        casesOf(results.suites.get('step'), 'exclusions').find((one) => one.at === 500 && isOf20M(one)),
        /-exclusions$/,
      ),
  },
  {
    what: '32 different sets in one batch against one',
    elsewhere: 'reference: not possible',
    goal: 'at most 1.1x',
    isMet: atMost(1.1),
    read: (results) =>
      ratioReading(
        casesOf(results.suites.get('step'), 'sets').find((one) => one.at === 32 && isOf20M(one)),
        /^native-\w+-overlay$/,
      ),
  },
  {
    what: 'A call of native code with three typed arrays',
    elsewhere: '–',
    goal: 'none: context',
    read: ({ suites }) => {
      const [one] = casesOf(suites.get('sets'), 'call');
      const found = named(one, 'native-call');
      if (found === undefined || !isTimed(found)) return undefined;
      // A turn makes many calls.
      const us = found.spread.p50 / Number(one.parameters.calls);
      return { value: baseValue(us, found.unit), words: shown(us, found.unit), file: 'sets.json' };
    },
  },
  {
    what: 'Decode step in JavaScript, 20M, B=2 M=70',
    elsewhere: '–',
    goal: 'at most 2 ms',
    isMet: atMost(2e-3),
    read: (results) => timeReading(named(stepCase(results, PAPER), 'js'), 'step'),
  },
  {
    what: "The server's own time, everything but queue and model, p50, a lone client over HTTP",
    elsewhere: '–',
    goal: 'at most 1 ms',
    isMet: atMost(1e-3),
    read: (results) => extraReading(loneClient(results), 'overhead in the server', 'serve'),
  },
  {
    what: 'The same as the client sees it',
    elsewhere: '–',
    goal: 'at most 1 ms',
    isMet: atMost(1e-3),
    read: (results) => extraReading(loneClient(results), 'overhead as the client sees it', 'serve'),
  },
  {
    what: "The constraint's share of a whole decode of the demo's model, p50, worst of its rules",
    elsewhere: 'STATIC on a TPU v6e, 3B model: 0.25 %',
    goal: 'at most 0.25 %',
    isMet: atMost(0.0025),
    read: shareOfDecode,
  },
  {
    what: 'The step and its log-sum-exp in a whole request, p50, HTTP, worst of its rules',
    elsewhere: '–',
    goal: 'at most 0.25 %',
    isMet: atMost(0.0025),
    read: ({ suites }) =>
      worst(
        casesOf(suites.get('serve'), 'constraint').map((one) =>
          extraReading(named(one, 'http'), SHARE, 'serve'),
        ),
      ),
  },
  {
    what: 'p99 of requests beside an upload of 1M items over p99 without: none waits behind a build',
    elsewhere: '–',
    goal: 'at most 1.5x',
    isMet: atMost(1.5),
    read: ({ others }) => {
      const value = numberAt(
        others.get('changes'),
        'recommend p99 while building / idle, all rounds together',
      );
      return value === undefined ? undefined : { value, words: shownTimes(value), file: 'changes.json' };
    },
  },
  {
    what: "Decode steps with the history's cache copied for each beam over those that share it, beam 50",
    elsewhere: '–',
    goal: 'at least 2x',
    isMet: atLeast(2),
    read: (results) => sharedContext(results.others.get('model')),
  },
  {
    what: 'Answers that break their rule, in the soak run',
    elsewhere: 'open-vocabulary engines: 17 to 27 % of beams are no items',
    goal: 'none',
    isMet: atMost(0),
    read: (results) => violations(results.suites.get('soak')),
  },
];

function threadsShown(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`;
}

function isOf20M({ parameters }: CaseResult): boolean {
  return Object.entries(parameters).some(
    ([name, value]) => /^(constraints|items|rows)$/.test(name) && value === 20 * MILLION,
  );
}

/** The one with uniform SIDs, whatever axis it is on. */
function stepCase(results: Results, wanted: Record<string, number>): CaseResult | undefined {
  return results.suites.get('step')?.cases.find(({ axis, parameters }) => {
    const isWhole = !['selectivity', 'sets', 'exclusions', 'neighbours'].includes(axis);
    const { shape = 'uniform' } = parameters;
    return (
      isWhole &&
      shape === 'uniform' &&
      Object.entries(wanted).every(([name, value]) => parameters[name] === value)
    );
  });
}

function stepTime(results: Results, wanted: Record<string, number>, threads: number): Reading | undefined {
  const one = stepCase(results, wanted);
  return timeReading(threads === 1 ? bestOf(one) : named(one, /^native-\w+-2-threads$/), 'step');
}

/** Whom the others are compared with, or else the fastest of ours. */
export function bestOf(one: CaseResult | undefined): Timed | undefined {
  if (one === undefined) return undefined;
  const ours = timedOf(one).filter(({ kind }) => kind === 'ours');
  const byTime = ours.toSorted((a, b) => baseValue(a.spread.p50, a.unit) - baseValue(b.spread.p50, b.unit));
  return yardstickOf(one) ?? byTime[0];
}

function named(one: CaseResult | undefined, name: string | RegExp): RivalResult | undefined {
  return one?.rivals.find((rival) =>
    typeof name === 'string' ? rival.name === name : name.test(rival.name),
  );
}

function timeReading(rival: RivalResult | undefined, suite: string): Reading | undefined {
  if (rival === undefined || !isTimed(rival)) return undefined;
  const { spread, unit, name } = rival;
  return {
    value: baseValue(spread.p50, unit),
    words: `${shown(spread.p50, unit)} (${name})`,
    file: `${suite}.json`,
  };
}

function extraReading(rival: RivalResult | undefined, extra: string, suite: string): Reading | undefined {
  const found = rival?.extras?.[extra];
  if (rival === undefined || found === undefined) return undefined;
  const words = `${shown(found.value, found.unit)} (${rival.name})`;
  return { value: baseValue(found.value, found.unit), words, file: `${suite}.json` };
}

/** Against the one of ours that a case compares with. */
function ratioReading(one: CaseResult | undefined, name: string | RegExp): Reading | undefined {
  const rival = named(one, name);
  if (one === undefined || rival === undefined || !isTimed(rival)) return undefined;
  const ratio = comparisonsOf(one, rival).find(([other]) => named(one, other)?.kind === 'ours')?.[1];
  if (ratio === undefined) return undefined;
  return { value: ratio.median, words: shownComparison(ratio), file: `${one.suite}.json` };
}

function worst(readings: readonly (Reading | undefined)[]): Reading | undefined {
  const found = readings.filter((reading) => reading !== undefined);
  return found.toSorted((a, b) => b.value - a.value)[0];
}

function buildCases({ suites }: Results, suite: string, count: number): CaseResult[] {
  const { cases = [] } = suites.get(suite) ?? {};
  return cases.filter(({ parameters: { shape = 'uniform', rows, items, constraints } }) => {
    return shape === 'uniform' && (rows ?? items ?? constraints) === count;
  });
}

function buildTime(results: Results, count: number, threads: number): Reading | undefined {
  for (const one of buildCases(results, 'build', count)) {
    const ours = timedOf(one).filter(({ kind, name }) => kind === 'ours' && name.startsWith('native'));
    const isMeant = (name: string) => /-2-threads$/.test(name) === (threads === 2);
    const found = ours
      .filter(({ name }) => isMeant(name))
      .toSorted((a, b) => baseValue(a.spread.p50, a.unit) - baseValue(b.spread.p50, b.unit))[0];
    if (found !== undefined) return timeReading(found, 'build');
  }
  return undefined;
}

/** The largest of what ours take, of all that were measured so. */
function worstExtra(
  results: Results,
  suite: string,
  count: number,
  isMeant: (name: string) => boolean,
  unit: Unit,
): Reading | undefined {
  return worst(
    buildCases(results, suite, count).flatMap(({ rivals }) =>
      rivals
        .filter(({ kind }) => kind === 'ours')
        .flatMap((rival) =>
          Object.entries(rival.extras ?? {})
            .filter(([name, extra]) => extra.unit === unit && isMeant(name))
            .map(([name]) => extraReading(rival, name, suite)),
        ),
    ),
  );
}

function bytesOfStep(results: Results): Reading | undefined {
  const one = stepCase(results, PAPER);
  const bytes = bestOf(one)?.extras?.bytes?.value;
  if (bytes === undefined) return undefined;
  const value = bytes / PAPER.constraints;
  return { value, words: shown(value, 'bytes/item'), file: 'step.json' };
}

/** One that asks for 10 items at beam width 50 with no constraint, over HTTP. */
function loneClient({ suites }: Results): RivalResult | undefined {
  return named(
    casesOf(suites.get('serve'), 'constraint').find((one) => one.at === 'none'),
    'http',
  );
}

function shareOfDecode({ suites }: Results): Reading | undefined {
  return worst(
    casesOf(suites.get('decode'), 'constraint').map((one) => {
      const { [SHARE]: share, [`${SHARE}, low`]: low, [`${SHARE}, high`]: high } = bestOf(one)?.extras ?? {};
      if (share === undefined) return undefined;
      const range = low && high ? ` (${shown(low.value, 'share')} to ${shown(high.value, 'share')})` : '';
      const words = `${shown(share.value, 'share')}${range}, ${one.at}`;
      return { value: share.value, words, file: 'decode.json' };
    }),
  );
}

const SHARE = 'constraint share';

function violations(soak: SuiteReport | undefined): Reading | undefined {
  const found = soak?.cases
    .flatMap(({ rivals }) => rivals)
    .flatMap(({ extras = {} }) => Object.entries(extras));
  const counts = found?.filter(([name]) => name.includes('violations')) ?? [];
  if (counts.length === 0) return undefined;
  const value = counts.reduce((sum, [, extra]) => sum + extra.value, 0);
  return { value, words: String(value), file: 'soak.json' };
}

/* What other commands have measured, of which a suite may know nothing yet. */

function sharedContext(model: unknown): Reading | undefined {
  const results = at(model, 'results');
  const found = Array.isArray(results)
    ? results.find((one) => at(one, 'what') === 'decode at beam 50: retail')
    : undefined;
  const [median, low, high] = ['median', 'low', 'high'].map((name) => numberAt(found, 'stepsRatio', name));
  if (median === undefined) return undefined;
  const words =
    low === undefined || high === undefined ? shownTimes(median) : shownInterval({ median, low, high });
  return { value: median, words, file: 'model.json' };
}

/** Its own marks, where a GPU has been measured. */
function cudaGoals({ others }: Results): Goal[] {
  const elsewhere = '–';
  const marks = at(others.get('cuda'), 'marks');
  if (!Array.isArray(marks)) {
    const read = () => undefined;
    return [
      ['Decode step on an H100', 'at most 8 µs at the tail levels, 12 µs at the dense level'],
      ['The same, in the long run', 'at most 4 µs at the tail levels, 6 µs at the dense level'],
      ['The step in PyTorch under torch.compile over ours, on that card', 'at least 8x as fast'],
      ["The logits' bytes of B=32, M=50 beside copies on that card", 'at least 60 % of the bandwidth'],
    ].map(([what, goal]) => ({ what, elsewhere, goal, isMet: () => false, read }));
  }
  return marks.map((mark: unknown): Goal => {
    const [what, unit, isLessBetter] = [at(mark, 'what'), at(mark, 'unit'), at(mark, 'isLessBetter')];
    const limit = numberAt(mark, 'goal') ?? Number.NaN;
    const measured = numberAt(mark, 'measured');
    return {
      what: `On a GPU: ${what}`,
      elsewhere,
      goal: `${isLessBetter ? 'at most' : 'at least'} ${limit} ${unit}`,
      isMet: isLessBetter ? atMost(limit) : atLeast(limit),
      read: () => measured && { value: measured, words: `${measured} ${unit}`, file: 'cuda.json' },
    } as Goal;
  });
}

/** What lies at a path of a file whose shape is not checked. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let found: unknown = value;
  for (const step of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Record<string | number, unknown>)[step];
  }
  return found;
}

export function numberAt(value: unknown, ...path: readonly (string | number)[]): number | undefined {
  const found = at(value, ...path);
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}
