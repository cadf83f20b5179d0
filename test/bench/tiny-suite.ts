import { type Contender, runContest } from '../../bench/harness/contest.js';
import type { CaseContext, CaseResult, PlannedCase, Suite } from '../../bench/harness/types.js';

/** A case of little work: the sum of an array, from the left and from the right. */
export function tinyCase(
  at: number,
  change: Partial<PlannedCase> = {},
  contenders: readonly Contender[] = sums(at),
): PlannedCase {
  const run = async ({ signal, options }: CaseContext): Promise<CaseResult> => ({
    suite: 'tiny',
    axis: 'length',
    at,
    parameters: { length: at, seed: options.seed },
    rivals: await runContest(contenders, {
      unit: 'us',
      warmUp: 1,
      turns: 5,
      yardsticks: ['left'],
      signal,
    }),
  });
  return { axis: 'length', at, needsBytes: 1000, seconds: 0.1, run, ...change };
}

export function sums(length: number): Contender[] {
  const numbers = Array.from({ length }, (_, index) => index);
  const expected = (length * (length - 1)) / 2;
  const check = (found: number) => ({
    hash: String(found),
    ...(found !== expected && { fault: `sum of ${length}: found ${found}, expected ${expected}` }),
  });
  const left = () => numbers.reduce((sum, one) => sum + one, 0);
  const right = () => numbers.reduceRight((sum, one) => sum + one, 0);
  return [
    { name: 'left', kind: 'ours', verify: () => check(left()), run: left },
    { name: 'right', kind: 'rival', verify: () => check(right()), run: right },
  ];
}

export function tinySuite(cases: PlannedCase[]): Suite {
  return { name: 'tiny', about: 'Sums.', axes: ['length'], plan: () => cases };
}
