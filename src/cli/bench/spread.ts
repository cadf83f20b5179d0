/** Percentiles of what was measured; null where there are too few values to tell. */
export interface Spread {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

/** Of fewer values a percentile would be the largest one, or nearly: chance, and not the tail. */
export const LEAST_SAMPLES = { p50: 1, p95: 40, p99: 200 };

export function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const of = (name: keyof Spread, fraction: number) =>
    sorted.length < LEAST_SAMPLES[name] ? null : nearestRank(sorted, fraction);
  return { p50: of('p50', 0.5), p95: of('p95', 0.95), p99: of('p99', 0.99) };
}

/** The smallest value that so large a part of all does not exceed. */
function nearestRank(sorted: Float64Array, fraction: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)];
}
