import { intervalOfSlope, median } from '../../harness/statistics.js';
import type { Interval, Series } from '../../harness/types.js';

/** At the begin caches fill and code is compiled: no trend is told from that. */
const WARM_UP_SHARE = 0.25;
/** Medians of so many stretches: garbage collection moves single samples. */
const STRETCHES = 16;
const LEAST_SAMPLES = 8;
const SHORT_SECONDS = 900;
/** Flat is what grows in an hour by no more than this share of what there is, at the upper bound of its interval. */
const FLAT_SHARE = 0.05;
const trended = ['anonymous memory', 'resident memory', 'open handles'];

export interface Trend {
  /** By how much a minute; undefined where there were too few samples to tell. */
  perMinute?: Interval;
  /** `uncertain`: neither grows nor falls for sure, and what it may grow by is too much to call it flat. */
  state: 'growing' | 'falling' | 'flat' | 'uncertain';
  /** The median, after warming up. */
  typical: number;
}

export interface Outcome {
  seconds: number;
  isPartial: boolean;
  /** By protocol. */
  answers: Readonly<Record<string, number>>;
  changes: ReadonlyMap<string, number>;
  /** By what was to be changed and code: `upload: ESP_…`. */
  changeErrors: ReadonlyMap<string, number>;
  /** Of readers and of changes, by code. */
  errors: ReadonlyMap<string, number>;
  violations: number;
  /** The first of them. */
  told: readonly string[];
  /** What the server itself found wrong in its answers; undefined where it does not say. */
  foundByServer: number | undefined;
  series: readonly Series[];
  /** Why it ended before its time. */
  ended?: string | undefined;
}

/** Growing: the whole interval of the slope lies above 0. Too few samples are uncertain. */
export function trendOf({ points }: Pick<Series, 'points'>): Trend {
  const lastSeconds = points.at(-1)?.[0] ?? 0;
  const warm = points.filter(([seconds]) => seconds >= lastSeconds * WARM_UP_SHARE);
  const typical = median(warm.map(([, value]) => value));
  if (warm.length < LEAST_SAMPLES) return { state: 'uncertain', typical };
  const size = Math.ceil(warm.length / STRETCHES);
  const stretches: [number, number][] = [];
  for (let from = 0; from < warm.length; from += size) {
    const stretch = warm.slice(from, from + size);
    stretches.push([median(stretch.map(([at]) => at / 60)), median(stretch.map(([, value]) => value))]);
  }
  const perMinute = intervalOfSlope(stretches);
  return { perMinute, state: stateOf(perMinute, typical), typical };
}

function stateOf({ low, high }: Interval, typical: number): Trend['state'] {
  if (low > 0) return 'growing';
  if (high < 0) return 'falling';
  return high * 60 <= typical * FLAT_SHARE ? 'flat' : 'uncertain';
}

/**
 * A stored verdict with its trends told anew from the series that are stored with it, so that results of before are
 * judged as those of today.
 */
export function retold(verdict: string, series: readonly Series[]): string {
  const seconds = Math.max(0, ...series.map(({ points }) => points.at(-1)?.[0] ?? 0));
  return trended.reduce((text, name) => {
    const found = series.find((one) => one.name === name);
    if (found === undefined) return text;
    const sentence = new RegExp(`${subjectOf(name)}: [^()]*\\(95 % between [^()]*\\)\\.`);
    return text.replace(sentence, () => inWords(found, seconds < SHORT_SECONDS));
  }, verdict);
}

/** What a soak comes to, for those who do not look at charts. */
export function verdictOf(outcome: Outcome): string {
  const { seconds, isPartial, answers, changes, errors, violations, told, foundByServer, ended } = outcome;
  const length = seconds < 90 ? `${seconds.toFixed(0)} seconds` : `${(seconds / 60).toFixed(1)} minutes`;
  const counted = Object.entries(answers).map(([name, count]) => `${grouped(count)} over ${name}`);
  const lines = [
    `${isPartial ? 'Interrupted after' : 'In'} ${length}: answers ${counted.join(', ')}; changes: ${listed(changes) || 'none'}.`,
  ];
  if (ended !== undefined) lines.push(`It ended before its time: ${ended}.`);
  lines.push(
    violations === 0
      ? 'No answer broke its rule.'
      : `${grouped(violations)} ANSWERS BROKE THEIR RULE, the first: ${told[0]}.`,
  );
  if (foundByServer !== undefined && foundByServer > 0)
    lines.push(`THE SERVER ITSELF FOUND ${foundByServer} WRONG ITEMS OR BEAMS.`);
  lines.push(errors.size === 0 ? 'There was no error.' : `Errors: ${listed(errors)}.`);
  for (const name of trended) {
    const series = outcome.series.find((one) => one.name === name);
    if (series !== undefined) lines.push(inWords(series, seconds < SHORT_SECONDS));
  }
  const delays = outcome.series.find(({ name }) => name.startsWith('event-loop delay'))?.points ?? [];
  if (delays.length > 0) {
    const values = delays.map(([, value]) => value);
    lines.push(
      `Of the event loop's longest delays between two samples the median is ${median(values).toFixed(1)} ms, the longest ${Math.max(...values).toFixed(1)} ms.`,
    );
  }
  if (seconds < SHORT_SECONDS)
    lines.push('The run was short: caches fill for minutes, so what grows here may be flat in an hour.');
  return lines.join(' ');
}

function subjectOf(name: string): string {
  return name[0].toUpperCase() + name.slice(1);
}

function inWords(series: Series, isShort: boolean): string {
  const { name, unit } = series;
  const { perMinute, state, typical } = trendOf(series);
  const subject = subjectOf(name);
  const shown = (value: number) => (unit === 'bytes' ? `${(value / 1e6).toFixed(2)} MB` : value.toFixed(2));
  if (perMinute === undefined) return `${subject}: about ${shown(typical)}, too few samples to tell a trend.`;
  const { median: middle, low, high } = perMinute;
  const range = `(95 % between ${shown(low)} and ${shown(high)})`;
  if (state === 'uncertain') {
    return `${subject}: too uncertain at about ${shown(typical)} to call it flat: up to ${shown(high)} a minute ${range}.`;
  }
  // In a short run nothing tells a leak from a cache that fills.
  const rising = isShort ? 'rising' : 'GROWING';
  return `${subject}: ${state === 'growing' ? rising : state} at about ${shown(typical)}, by ${shown(middle)} a minute ${range}.`;
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${name} ${grouped(count)}`).join(', ');
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
