import type { Parameters as FastCheckParameters } from 'fast-check';

/**
 * fast-check's settings for a property: a fresh seed each run, printed, or the one in PROPERTY_SEED.
 * `LONG_TESTS=1` runs twenty times as many cases.
 */
export function seeded<Ts>(name: string, numRuns: number): FastCheckParameters<Ts> {
  const seed = Number(process.env.PROPERTY_SEED ?? Date.now() % 2 ** 31);
  const runs = process.env.LONG_TESTS ? numRuns * 20 : numRuns;
  console.log(`${name}: ${runs} cases, seed ${seed} (PROPERTY_SEED=${seed} repeats them)`);
  return { seed, numRuns: runs, verbose: 1 };
}
