import { LEAST_SAMPLES } from '../harness/statistics.js';
import type { CaseResult, Interval } from '../harness/types.js';
import { dimensionOf, shownInterval, shownTimes } from './format.js';
import { type Timed, timedOf } from './input.js';

/** One rival beside another, as far as the turns that both took tell. */
export interface Comparison {
  median: number;
  /** How many turns both took. */
  pairs: number;
  /** Undefined where those were too few for one, and where bytes were counted. */
  interval: Interval | undefined;
  /** Bytes: counted, so that there is nothing to be unsure of. */
  isCounted: boolean;
  /** The other's median in those turns, in the rival's unit, where it is known. */
  otherP50: number | undefined;
}

/** Undefined where the two were not compared. */
export function comparisonWith(one: CaseResult, rival: Timed, otherName: string): Comparison | undefined {
  const ratio = rival.ratioTo?.[otherName];
  if (ratio === undefined) return undefined;
  const { median, low, high } = ratio;
  const other = timedOf(one).find(({ name }) => name === otherName);
  const { samples, p50 } = rival.spread;
  const pairs = ratio.pairs ?? Math.min(samples, other?.spread.samples ?? samples);
  const isCounted = dimensionOf(rival.unit) === 'bytes' || dimensionOf(rival.unit) === 'bytes/item';
  const hasInterval = !isCounted && pairs >= LEAST_SAMPLES && low !== undefined && high !== undefined;
  return {
    median,
    pairs,
    interval: hasInterval ? { median, low, high } : undefined,
    isCounted,
    // Of a single turn the ratio itself tells what the other took in it.
    otherP50: ratio.otherP50 ?? (pairs === 1 && samples === 1 ? p50 / median : undefined),
  };
}

/** All that a rival was compared with, by name. */
export function comparisonsOf(one: CaseResult, rival: Timed): [other: string, comparison: Comparison][] {
  return Object.keys(rival.ratioTo ?? {}).map((name) => [name, comparisonWith(one, rival, name)!]);
}

/** `1.27x (1.25x to 1.29x)`, `9.01x (1 sample)`; of bytes `4.3x`. */
export function shownComparison({ median, pairs, interval, isCounted }: Comparison): string {
  if (interval !== undefined) return shownInterval(interval);
  if (isCounted) return shownTimes(median);
  return `${shownTimes(median)} (${pairs} sample${pairs === 1 ? '' : 's'})`;
}
