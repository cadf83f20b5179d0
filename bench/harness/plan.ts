import { UsageError, unknown } from './arguments.js';
import type { PlannedCase, RunOptions, Suite } from './types.js';

export interface PlannedSuite {
  suite: Suite;
  cases: PlannedCase[];
}

/**
 * What is to be run; suites that have none of the axes asked for are left out.
 * @throws UsageError on an axis that none of the suites has, and where nothing is left
 */
export function planSuites(suites: readonly Suite[], options: RunOptions): PlannedSuite[] {
  const known = [...new Set(suites.flatMap(({ axes }) => axes))];
  for (const axis of options.axes) {
    if (!known.includes(axis))
      throw unknown(`axis of ${suites.map(({ name }) => name).join(', ')}`, axis, known);
  }
  const planned = suites
    .map((suite) => ({
      suite,
      cases: suite
        .plan(options)
        .filter(({ axis }) => options.axes.length === 0 || options.axes.includes(axis)),
    }))
    .filter(({ cases }) => cases.length > 0);
  if (planned.length > 0) return planned;
  const asked = suites.map(({ name }) => name).join(', ');
  const on = options.axes.length === 0 ? '' : ` on ${options.axes.join(', ')}`;
  throw new UsageError(`nothing to run: ${asked}: no case of size ${options.size}${on}`);
}

export function secondsOf(cases: readonly PlannedCase[]): number {
  return cases.reduce((sum, { seconds }) => sum + seconds, 0);
}

/** Suites, their axes and about how many seconds each takes. */
export function listSuites(planned: readonly PlannedSuite[]): string {
  const lines = planned.flatMap(({ suite, cases }) => [
    `${suite.name.padEnd(12)} ${String(cases.length).padStart(4)} cases ${shownSeconds(secondsOf(cases))}  ${suite.about}`,
    ...suite.axes.flatMap((axis) => {
      const ofAxis = cases.filter((one) => one.axis === axis);
      if (ofAxis.length === 0) return [];
      const places = ofAxis.map(({ at }) => at).join(', ');
      return [
        `  ${axis.padEnd(10)} ${String(ofAxis.length).padStart(4)} cases ${shownSeconds(secondsOf(ofAxis))}  ${places}`,
      ];
    }),
  ]);
  const all = planned.flatMap(({ cases }) => cases);
  const total = `${'all'.padEnd(12)} ${String(all.length).padStart(4)} cases ${shownSeconds(secondsOf(all))}`;
  return [...lines, total].join('\n');
}

function shownSeconds(seconds: number): string {
  return `${Math.ceil(seconds)} s`.padStart(7);
}
