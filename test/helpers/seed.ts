import type { Parameters as FastCheckParameters } from 'fast-check';

/**
 * fast-check's settings for a property: a fresh seed each run, printed, or the one in PROPERTY_SEED. `npm test` runs half
 * of the cases, so that it ends soon, and `LONG_TESTS=1` twenty times as many.
 */
export function seeded<Ts>(name: string, numRuns: number): FastCheckParameters<Ts> {
  const seed = Number(process.env.PROPERTY_SEED ?? Date.now() % 2 ** 31);
  const runs = process.env.LONG_TESTS ? numRuns * 20 : Math.ceil(numRuns / 2);
  console.log(`${name}: ${runs} cases, seed ${seed} (PROPERTY_SEED=${seed} repeats them)`);
  return { seed, numRuns: runs, verbose: 1 };
}
