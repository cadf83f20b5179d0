/** A median with its 95 % interval. */
export interface Interval {
  median: number;
  low: number;
  high: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >>> 1];
}

/** @param fraction 0.99 for the 99th percentile */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))];
}

const RESAMPLES = 1000;

/** By bootstrap: the medians of as many values drawn with replacement. */
export function intervalOfMedian(values: readonly number[]): Interval {
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(Math.random() * values.length)])),
  ).sort((a, b) => a - b);
  return {
    median: median(values),
    low: medians[Math.floor(RESAMPLES * 0.025)],
    high: medians[Math.floor(RESAMPLES * 0.975)],
  };
}
