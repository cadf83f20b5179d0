import { seededRandom } from '../../src/cli/bench/random.js';
import type { Estimate, Interval, Ratio, Spread } from './types.js';

/** The middle value, or the mean of the two middle ones; NaN of none. */
export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  return middleOf(sorted);
}

/** A value that was measured: the smallest that `fraction` of the others do not exceed; NaN of none. */
export function quantile(values: ArrayLike<number>, fraction: number): number {
  return quantileOf(Float64Array.from(values).sort(), fraction);
}

export function spreadOf(values: ArrayLike<number>): Spread {
  const sorted = Float64Array.from(values).sort();
  return {
    p50: middleOf(sorted),
    p95: quantileOf(sorted, 0.95),
    p99: quantileOf(sorted, 0.99),
    max: quantileOf(sorted, 1),
    samples: sorted.length,
  };
}

const RESAMPLES = 1000;

/**
 * Of fewer samples there is no interval: even from the least to the greatest of five, the true median lies within in
 * 1 - 2/2^5 of all runs, which is 94 %; of six, in 97 %.
 */
export const LEAST_SAMPLES = 6;

/**
 * A median with its 95 % interval, by bootstrap: the medians of as many values drawn with replacement. Equal values
 * and an equal seed give an equal interval; fewer than `LEAST_SAMPLES` none.
 * @param block values that were measured one right after another, and so have much in common, are drawn together: they
 *   tell no more than one. Whole blocks follow each other
 */
export function intervalOfMedian(values: ArrayLike<number>, seed = 1, block = 1): Estimate {
  const blocks = Math.floor(values.length / block);
  if (blocks < LEAST_SAMPLES) return { median: median(values) };
  const random = seededRandom(seed);
  const drawn = new Float64Array(blocks * block);
  const medians = Float64Array.from({ length: RESAMPLES }, () => {
    for (let at = 0; at < drawn.length; at += block) {
      const from = Math.floor(random() * blocks) * block;
      for (let offset = 0; offset < block; offset++) drawn[at + offset] = values[from + offset];
    }
    return middleOf(drawn.sort());
  }).sort();
  return { median: median(values), low: quantileOf(medians, 0.025), high: quantileOf(medians, 0.975) };
}

/**
 * How many times as long the left rival took as the right one, turn by turn: what slows a machine down for a while
 * slows both. A turn that one of them sat out is NaN, and is left out.
 * @param block as `intervalOfMedian` has it; a rival sits whole blocks out
 */
export function pairedRatio(
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  seed?: number,
  block?: number,
): Ratio {
  const shared = sharedTurns(left, right);
  const ratios = shared.map(([a, b]) => a / b);
  return {
    ...intervalOfMedian(ratios, seed, block),
    pairs: shared.length,
    otherP50: median(shared.map(([, b]) => b)),
  };
}

/**
 * By how much values rise a unit of their place: the median of the slopes between any two points (Theil-Sen), which a
 * few outliers do not move, with its 95 % interval by bootstrap.
 * @param points at least two different places
 */
export function intervalOfSlope(
  points: readonly (readonly [at: number, value: number])[],
  seed = 1,
): Interval {
  const random = seededRandom(seed);
  const slopes = Array.from({ length: RESAMPLES }, () =>
    slopeOf(points.map(() => points[Math.floor(random() * points.length)])),
  ).filter((slope) => !Number.isNaN(slope));
  return { median: slopeOf(points), low: quantile(slopes, 0.025), high: quantile(slopes, 0.975) };
}

/** NaN where all points have one place. */
function slopeOf(points: readonly (readonly [at: number, value: number])[]): number {
  return median(
    points.flatMap(([at, value], index) =>
      points
        .slice(index + 1)
        .flatMap(([otherAt, other]) => (otherAt === at ? [] : [(other - value) / (otherAt - at)])),
    ),
  );
}

/** The median of left - right over the turns that both took. */
export function pairedDifference(left: ArrayLike<number>, right: ArrayLike<number>): number {
  return median(sharedTurns(left, right).map(([a, b]) => a - b));
}

function sharedTurns(left: ArrayLike<number>, right: ArrayLike<number>): [number, number][] {
  return Array.from(left, (time, turn): [number, number] => [time, right[turn]]).filter(
    ([a, b]) => !Number.isNaN(a) && !Number.isNaN(b),
  );
}

function middleOf(sorted: Float64Array): number {
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function quantileOf(sorted: Float64Array, fraction: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)];
}
