import type { CaseResult, RivalResult, SuiteReport } from '../harness/types.js';
import { listed, markdownTable, shown, shownPlace } from './format.js';
import { bestOf, type Outcome } from './goals.js';
import { casesOf, type Results, type Timed, timedOf, yardstickOf } from './input.js';
import { hasOtherResults, otherResultsNote, rivalNote } from './names.js';
import { type Comparison, comparisonsOf, comparisonWith, shownComparison } from './ratios.js';

/** Goals beside what was measured, in Markdown. */
export function goalsTable(outcomes: readonly Outcome[]): string {
  return markdownTable(
    ['', 'elsewhere, for context', 'goal', 'measured', ''],
    outcomes.map(({ goal, reading, state }) => [
      goal.what,
      goal.elsewhere,
      goal.goal,
      reading === undefined ? '–' : `${reading.words} · ${reading.file}`,
      state === 'missed' ? '**missed**' : state,
    ]),
  );
}

/** All that was timed on an axis. */
export function axisTable(report: SuiteReport, axis: string): string {
  const rows = casesOf(report, axis).flatMap((one) => {
    const yardstick = yardstickOf(one)?.name;
    return timedOf(one).map((rival) => {
      const { name, unit, spread, extras = {} } = rival;
      const compared = comparisonsOf(one, rival);
      const [other, ratio] = compared.find(([name]) => name === yardstick) ?? compared[0] ?? [];
      const notes = [
        ...[otherResultsNote(rival) ?? []].flat(),
        ...(ratio === undefined || other === undefined ? [] : sharedTurnsNote(one, rival, other, ratio)),
        ...Object.entries(extras)
          .filter(([name]) => !name.startsWith('level '))
          .map(([name, extra]) => `${name} ${shown(extra.value, extra.unit)}`),
      ];
      return [
        shownPlace(axis, one.at),
        name === yardstick ? `**${name}**` : name,
        shown(spread.p50, unit),
        shown(spread.p95, unit),
        shown(spread.p99, unit),
        spread.samples,
        ratio === undefined ? '–' : `${shownComparison(ratio)}${other === yardstick ? '' : ` of ${other}`}`,
        notes.join(', '),
      ];
    });
  });
  const yardsticks = [...new Set(casesOf(report, axis).flatMap((one) => yardstickOf(one)?.name ?? []))];
  const over = yardsticks.length === 0 ? 'ratio (95 %)' : `over ${listed(yardsticks)} (95 %)`;
  return markdownTable(['at', '', 'p50', 'p95', 'p99', 'samples', over, 'beside'], rows);
}

/** Two rows may differ from their ratio by so much before a reader has to be told why. */
const UNREMARKABLE = 1.25;

/** A ratio is of the turns that both took: where the other took more, its row may say something else. */
function sharedTurnsNote(one: CaseResult, rival: Timed, otherName: string, ratio: Comparison): string[] {
  const other = timedOf(one).find(({ name }) => name === otherName);
  if (other === undefined || other.unit !== rival.unit || ratio.pairs >= other.spread.samples) return [];
  const off = rival.spread.p50 / other.spread.p50 / ratio.median;
  if (Math.max(off, 1 / off) <= UNREMARKABLE) return [];
  const { otherP50 } = ratio;
  return [
    otherP50 === undefined
      ? `the ratio is of ${ratio.pairs} turns, in which ${otherName} took another time than its row says`
      : `in the turns of the ratio ${otherName} took ${shown(otherP50, rival.unit)}`,
  ];
}

/** Who is missing on an axis, and why; once for each reason. */
export function absences(report: SuiteReport, axis: string): string[] {
  const lines: string[] = [];
  for (const { axis: other, at, reason } of report.skipped) {
    if (other === axis) lines.push(`At ${shownPlace(axis, at)} nothing was run: ${reason}.`);
  }
  const places = new Map<
    string,
    { names: Set<string>; places: Set<string>; status: string; reason: string }
  >();
  const cases = casesOf(report, axis);
  for (const one of cases) {
    const place = shownPlace(axis, one.at);
    if (one.failed !== undefined) lines.push(`**The case at ${place} failed**: ${one.failed}`);
    for (const { name, status, reason = 'for no reason given' } of one.rivals) {
      if (status === 'timed') continue;
      const key = `${status} ${reason}`;
      const entry = places.get(key) ?? { names: new Set(), places: new Set(), status, reason };
      entry.names.add(name);
      entry.places.add(place);
      places.set(key, entry);
    }
  }
  for (const { names, places: where, status, reason } of places.values()) {
    const everywhere =
      where.size === cases.length && cases.length > 1 ? 'everywhere' : `at ${listed([...where])}`;
    const what = status === 'failed' ? '**failed the check**' : 'skipped';
    lines.push(`${listed([...names])} ${what} ${everywhere}: ${reason}`);
  }
  return lines;
}

/** The point where the paper measures, where it was run; the largest that was, where not. */
export function headlineCase({ suites }: Results): CaseResult | undefined {
  const points = casesOf(suites.get('step'), 'point').filter((one) => yardstickOf(one) !== undefined);
  const size = ({ parameters }: CaseResult) =>
    Number(parameters.constraints ?? 0) - Number(parameters.batch ?? 0) / 1e6;
  return points.toSorted((a, b) => size(b) - size(a))[0];
}

/** The README's table. */
export function readmeTable(results: Results): string {
  const one = headlineCase(results);
  const best = bestOf(one);
  if (one === undefined || best === undefined) {
    return 'Not measured yet: `npm run bench` measures, and `npm run bench -- report` writes the table.';
  }
  const { machine, noise } = results.suites.get('step')!;
  const { constraints, vocabulary, sidLength, batch, beams } = one.parameters;
  const rows = timedOf(one)
    .filter(({ name }) => name !== 'log-sum-exp-2-threads')
    .toSorted((a, b) => a.spread.p50 - b.spread.p50)
    .map((rival) => readmeRow(one, rival, best.name));
  return [
    `One decode step over ${shownPlace('constraints', constraints)} SIDs (V=${vocabulary}, L=${sidLength}, B=${batch}, M=${beams}), a mean over all levels, on ${machine.cores} cores ` +
      `of ${machine.cpu} (${best.name}).${noise.isNoisy ? ' The machine was busy: see the page.' : ''}`,
    '',
    markdownTable(['', 'p50', `over ${best.name} (95 %)`, 'memory', 'same results'], rows),
    ...absentLine(one.rivals),
  ].join('\n');
}

function readmeRow(one: CaseResult, rival: Timed, best: string): string[] {
  const { name, kind, extras = {} } = rival;
  const ratio = comparisonWith(one, rival, best);
  const note = rivalNote(name);
  return [
    `${name === best ? `**${name}**` : name}${note === '' ? '' : `: ${note}`}`,
    shown(rival.spread.p50, rival.unit),
    ratio === undefined ? '1' : shownComparison(ratio),
    extras.bytes === undefined ? '–' : shown(extras.bytes.value, extras.bytes.unit),
    kind === 'floor' ? '–' : hasOtherResults(rival) ? 'no' : 'yes',
  ];
}

function absentLine(rivals: readonly RivalResult[]): string[] {
  const absent = rivals.filter(({ status }) => status !== 'timed');
  if (absent.length === 0) return [];
  return [
    '',
    `Not timed: ${absent.map(({ name, status, reason }) => `${name} (${status}: ${reason})`).join('; ')}.`,
  ];
}
