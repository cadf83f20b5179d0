import { readReport } from '../harness/results.js';
import { LEAST_SAMPLES } from '../harness/statistics.js';
import type { CaseResult, Interval, RivalResult, SuiteReport } from '../harness/types.js';
import { shown, shownTimes } from './format.js';
import { isTimed, type Timed } from './input.js';
import { comparisonsOf, comparisonWith, shownComparison } from './ratios.js';

/** A change of less is not worth a line, however sure it is. */
const LEAST_CHANGE = 1.02;

/**
 * What changed from one run of a suite to another, beyond noise. A time has changed where the ranges of its two medians
 * are apart, and the ratio of the medians is larger than what the calibrating work changed by; a ratio to another
 * rival, where its two intervals are apart, and where a run was noisy, by more than the calibrating work changed. Of
 * times and ratios with fewer than `LEAST_SAMPLES` samples in either run nothing is said.
 * @param a path of the report before. @param b path of the report after
 * @returns a table, and before it what makes the two hard to compare
 * @throws Error that names the file that is no report, or says that the two are of different suites
 */
export function compareReports(a: string, b: string): string {
  const [before, after] = [readReport(a), readReport(b)];
  if (before.suite !== after.suite) {
    throw new Error(`${a} is of the suite ${before.suite}, ${b} of ${after.suite}: nothing to compare`);
  }
  const drift = driftOf(before, after);
  const changes = changesOf(before, after, drift);
  const shared = after.cases.filter((one) =>
    before.cases.some((other) => keyOf(other) === keyOf(one)),
  ).length;
  const lines = [
    `${before.suite}: ${short(before)} before, ${short(after)} after; ${shared} cases in both`,
    ...warnings(before, after, drift),
    ...tooFewWords(before, after),
    '',
  ];
  if (shared === 0) return [...lines, 'No case is in both.'].join('\n');
  if (changes.length === 0) return [...lines, 'Nothing changed beyond noise.'].join('\n');
  const header = ['case', 'rival', 'what', 'before', 'after', 'after / before', ''];
  return [...lines, aligned([header, ...changes])].join('\n');
}

function short({ commit, startedAt, size }: SuiteReport): string {
  return `${commit.replace(/^([0-9a-f]{12})[0-9a-f]*/, '$1')} (${startedAt.slice(0, 16)}, ${size})`;
}

function warnings(before: SuiteReport, after: SuiteReport, drift: number): string[] {
  const lines: string[] = [];
  const [one, other] = [before, after].map(
    ({ machine }) => `${machine.cores} x ${machine.cpu}, ${machine.cpuFeatures.at(-1) ?? 'no native kernel'}`,
  );
  if (one !== other)
    lines.push(
      `The machines differ: ${one} before, ${other} after. Times are of two machines; look at the ratios.`,
    );
  if (before.machine.node !== after.machine.node) {
    lines.push(`Node differs: ${before.machine.node} before, ${after.machine.node} after.`);
  }
  if (before.seed !== after.seed) lines.push(`The seeds differ: ${before.seed} before, ${after.seed} after.`);
  if (before.size !== after.size) lines.push(`The sizes differ: ${before.size} before, ${after.size} after.`);
  for (const [when, { noise, isComplete }] of [
    ['before', before],
    ['after', after],
  ] as const) {
    if (noise.isNoisy) lines.push(`Run ${when}: ${noise.why}`);
    if (!isComplete) lines.push(`Run ${when} is incomplete.`);
  }
  lines.push(
    `The calibrating work differed by ${shownTimes(drift)}: times that changed by less count as unchanged.`,
  );
  return lines;
}

/** How much longer the slowest of four calibrations took than the fastest. */
function driftOf({ noise: a }: SuiteReport, { noise: b }: SuiteReport): number {
  const medians = [a.beforeUs, a.afterUs, b.beforeUs, b.afterUs].map(({ p50 }) => p50);
  return Math.max(LEAST_CHANGE, Math.max(...medians) / Math.min(...medians));
}

/** Times that are in both runs and of which one has too few samples to be compared. */
function tooFewWords(before: SuiteReport, after: SuiteReport): string[] {
  const isShort = (rival: RivalResult) => isTimed(rival) && !isBytes(rival) && hasFew(rival);
  const count = after.cases.reduce((sum, now) => {
    const was = before.cases.find((other) => keyOf(other) === keyOf(now));
    const short = now.rivals.filter((b) => {
      const a = was?.rivals.find(({ name }) => name === b.name);
      return a !== undefined && isTimed(a) && isTimed(b) && (isShort(a) || isShort(b));
    });
    return sum + short.length;
  }, 0);
  if (count === 0) return [];
  return [`${count} times have fewer than ${LEAST_SAMPLES} samples in one of the runs: not compared.`];
}

function hasFew({ spread: { samples } }: Timed): boolean {
  return samples < LEAST_SAMPLES;
}

/** Bytes are counted: one sample is enough. */
function isBytes({ unit }: Timed): boolean {
  return unit === 'bytes' || unit === 'bytes/item';
}

type Row = [
  where: string,
  rival: string,
  what: string,
  before: string,
  after: string,
  ratio: string,
  verdict: string,
];

function changesOf(before: SuiteReport, after: SuiteReport, drift: number): Row[] {
  const rows: Row[] = [];
  for (const one of before.cases) {
    if (!after.cases.some((other) => keyOf(other) === keyOf(one))) {
      rows.push([placeOf(one), '', 'case', 'run', 'not run', '', 'gone']);
    }
  }
  for (const now of after.cases) {
    const was = before.cases.find((other) => keyOf(other) === keyOf(now));
    if (was === undefined) rows.push([placeOf(now), '', 'case', 'not run', 'run', '', 'new']);
    else
      rows.push(
        ...caseChanges(was, now, {
          drift,
          isNoisy: before.noise.isNoisy || after.noise.isNoisy,
          isSameWork: before.seed === after.seed,
        }),
      );
  }
  return rows;
}

interface Circumstances {
  drift: number;
  /** Whether the machine was busy around one of the two runs. */
  isNoisy: boolean;
  /** Whether what is drawn was the same, so that results must be. */
  isSameWork: boolean;
}

function caseChanges(was: CaseResult, now: CaseResult, circumstances: Circumstances): Row[] {
  const place = placeOf(now);
  if (was.failed !== now.failed) {
    return [
      [
        place,
        '',
        'case',
        was.failed ?? 'ran',
        now.failed ?? 'ran',
        '',
        now.failed === undefined ? 'mended' : 'FAILED',
      ],
    ];
  }
  const rows: Row[] = [];
  const names = new Set([...was.rivals, ...now.rivals].map(({ name }) => name));
  for (const name of names) {
    const [a, b] = [was, now].map(({ rivals }) => rivals.find((rival) => rival.name === name));
    for (const row of rivalChanges(a, b, circumstances)) rows.push([place, name, ...row]);
    if (a !== undefined && b !== undefined && isTimed(a) && isTimed(b)) {
      for (const row of ratioChanges([was, a], [now, b], circumstances)) rows.push([place, name, ...row]);
    }
  }
  return rows;
}

type RivalRow = [what: string, before: string, after: string, ratio: string, verdict: string];

function rivalChanges(
  a: RivalResult | undefined,
  b: RivalResult | undefined,
  { drift, isSameWork }: Circumstances,
): RivalRow[] {
  if (a === undefined || b === undefined) {
    return [['rival', a ? a.status : 'not there', b ? b.status : 'not there', '', a ? 'gone' : 'new']];
  }
  if (a.status !== b.status) {
    const words = ({ status, reason }: RivalResult) =>
      reason === undefined ? status : `${status}: ${reason}`;
    return [['status', words(a), words(b), '', b.status === 'failed' ? 'FAILED' : 'changed']];
  }
  const rows: RivalRow[] = [];
  if (isSameWork && a.resultHash !== b.resultHash) {
    rows.push(['results', a.resultHash ?? 'none', b.resultHash ?? 'none', '', 'other results']);
  }
  if (isTimed(a) && isTimed(b)) rows.push(...timeChange(a, b, drift));
  rows.push(...sizeChanges(a, b));
  return rows;
}

function timeChange(a: Timed, b: Timed, drift: number): RivalRow[] {
  if (a.unit !== b.unit) return [['unit', a.unit, b.unit, '', 'not compared']];
  if (!isBytes(a) && (hasFew(a) || hasFew(b))) return [];
  const ratio = b.spread.p50 / a.spread.p50;
  const [x, y] = [rangeOfMedian(a), rangeOfMedian(b)];
  const isBeyond = apart(x, y) && Math.max(ratio, 1 / ratio) > (isBytes(a) ? LEAST_CHANGE : drift);
  if (!isBeyond) return [];
  const isTime = a.unit === 'us' || a.unit === 'ms' || a.unit === 's';
  const verdict = isTime ? (ratio < 1 ? 'faster' : 'slower') : ratio < 1 ? 'less' : 'more';
  return [['p50', shown(a.spread.p50, a.unit), shown(b.spread.p50, b.unit), shownTimes(ratio), verdict]];
}

/**
 * Where a median lies with 95 %, as far as a spread tells: from how far the 95th percentile is from it, as if times
 * were normally distributed above it, which is wider than they mostly are.
 */
function rangeOfMedian({ spread: { p50, p95, samples } }: Timed): Interval {
  const deviation = (p95 - p50) / 1.645;
  const half = (1.96 * 1.2533 * deviation) / Math.sqrt(samples);
  return { median: p50, low: p50 - half, high: p50 + half };
}

function ratioChanges(
  [was, a]: [CaseResult, Timed],
  [now, b]: [CaseResult, Timed],
  { drift, isNoisy }: Circumstances,
): RivalRow[] {
  // Work of another kind than the calibrating work may drift by as much again, and two rivals by different factors.
  const leeway = isNoisy ? drift : 1;
  return comparisonsOf(now, b).flatMap(([name, after]): RivalRow[] => {
    const before = comparisonWith(was, a, name);
    if (before?.interval === undefined || after.interval === undefined) return [];
    const { median, low, high } = before.interval;
    if (!apart({ median, low: low / leeway, high: high * leeway }, after.interval)) return [];
    const ratio = after.median / before.median;
    if (Math.max(ratio, 1 / ratio) <= LEAST_CHANGE) return [];
    return [
      [
        `over ${name}`,
        shownComparison(before),
        shownComparison(after),
        shownTimes(ratio),
        ratio < 1 ? 'better' : 'worse',
      ],
    ];
  });
}

/** Bytes are not noise, or hardly. */
function sizeChanges(a: RivalResult, b: RivalResult): RivalRow[] {
  return Object.entries(b.extras ?? {}).flatMap(([name, now]): RivalRow[] => {
    const was = a.extras?.[name];
    if (was === undefined || was.unit !== now.unit || !['bytes', 'bytes/item'].includes(now.unit)) return [];
    const ratio = now.value / was.value;
    if (!(Math.max(ratio, 1 / ratio) > LEAST_CHANGE)) return [];
    return [
      [
        name,
        shown(was.value, was.unit),
        shown(now.value, now.unit),
        shownTimes(ratio),
        ratio < 1 ? 'less' : 'more',
      ],
    ];
  });
}

function apart(a: Interval, b: Interval): boolean {
  return a.high < b.low || b.high < a.low;
}

function keyOf({ axis, at, parameters }: CaseResult): string {
  return JSON.stringify([
    axis,
    at,
    Object.entries(parameters)
      .filter(([name]) => name !== 'seed')
      .sort(),
  ]);
}

function placeOf({ axis, at }: CaseResult): string {
  return `${axis}=${at}`;
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
