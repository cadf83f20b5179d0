import { quantile } from '../harness/statistics.js';

/** Of some measurements: the middle, the spread, and how many there were. */
export function summary(values: readonly number[]): Record<string, number> {
  const at = (fraction: number) => Number(quantile(values, fraction).toPrecision(4));
  return { p50: at(0.5), p95: at(0.95), min: at(0), max: at(1), samples: values.length };
}
