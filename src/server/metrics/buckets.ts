/** From a microsecond: a constraint step is that short, and buckets must still reach a slow model. */
export const SECONDS = [
  1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
  2, 5, 10,
];

/** Of jobs, which take up to an hour. */
export const JOB_SECONDS = [0.01, 0.1, 1, 10, 60, 600, 3600];

/** 1, 2, 4, … up to `last`. */
export function powersOfTwo(last: number): number[] {
  return Array.from({ length: Math.log2(last) + 1 }, (_, exponent) => 2 ** exponent);
}
