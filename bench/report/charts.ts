import type { CaseResult, SuiteReport } from '../harness/types.js';
import {
  baseValue,
  type Dimension,
  dimensionOf,
  shown,
  shownBase,
  shownPlace,
  shownTimes,
} from './format.js';
import { bestOf } from './goals.js';
import { axesOf, casesOf, type Timed, timedOf, yardstickOf } from './input.js';
import { looksOf } from './looks.js';
import { axisTitle, suiteTitle } from './names.js';
import { comparisonsOf, shownComparison } from './ratios.js';
import { drawDotChart } from './svg/dot-chart.js';
import type { Drawing } from './svg/drawing.js';
import { drawLineChart } from './svg/line-chart.js';
import { drawTimeChart } from './svg/time-chart.js';

export interface Chart {
  /** Of its file, without the ending. */
  name: string;
  suite: string;
  axis: string;
  drawing: Drawing;
  /** What is not in it, and why. */
  omitted: string[];
}

/** What of each rival a chart shows. */
interface Measure {
  suffix: string;
  title: string;
  dimension: Dimension;
  baseOf(rival: Timed): number | undefined;
  untilOf?(rival: Timed): number;
}

export function chartsOf(report: SuiteReport): Chart[] {
  return axesOf(report).flatMap((axis) => chartsOfAxis(report, axis));
}

export function chartsOfAxis(report: SuiteReport, axis: string): Chart[] {
  const cases = casesOf(report, axis);
  const charts = measuresOf(report.suite, axis, cases).flatMap((measure) => {
    const chart = drawAxis(report.suite, axis, cases, measure);
    return chart === undefined ? [] : [chart];
  });
  return [...charts, ...cases.flatMap((one) => overTime(one))];
}

/** Times first; then what else is worth a picture. */
function measuresOf(suite: string, axis: string, cases: readonly CaseResult[]): Measure[] {
  const timed = cases.flatMap(timedOf);
  const dimensions = [...new Set(timed.map(({ unit }) => dimensionOf(unit)))];
  const spreads = dimensions.map((dimension, index): Measure => {
    const isTheirs = ({ unit }: Timed) => dimensionOf(unit) === dimension;
    const words: Partial<Record<Dimension, string>> = { time: 'time', 'per second': 'how many a second' };
    return {
      suffix: index === 0 ? '' : `-${dimension.replaceAll(/\W+/g, '-')}`,
      title: `${suiteTitle(suite)}: ${words[dimension] ?? dimension} (median)`,
      dimension,
      baseOf: (rival) => (isTheirs(rival) ? baseValue(rival.spread.p50, rival.unit) : undefined),
      untilOf: (rival) => baseValue(rival.spread.p99, rival.unit),
    };
  });
  const ofExtra = (name: string, suffix: string, title: string, isMeant = (_: Timed) => true): Measure[] => {
    const units = timed.flatMap(({ extras }) => extras?.[name]?.unit ?? []);
    if (units.length === 0) return [];
    const baseOf = (rival: Timed) => {
      const extra = rival.extras?.[name];
      return extra === undefined || !isMeant(rival) ? undefined : baseValue(extra.value, extra.unit);
    };
    return [{ suffix, title: `${suiteTitle(suite)}: ${title}`, dimension: dimensionOf(units[0]), baseOf }];
  };
  const isOneThread = ({ name }: Timed) => !name.endsWith('-2-threads');
  const paperAxes = ['constraints', 'vocabulary', 'branching', 'beams', 'batch', 'sid-length'];
  return [
    ...spreads,
    ...(suite === 'step' && paperAxes.includes(axis)
      ? ofExtra('constraint', '-constraint', 'what a step takes beyond a log-sum-exp (median)', isOneThread)
      : []),
    ...(suite === 'serve' && axis === 'constraint'
      ? ofExtra('overhead in the server', '-overhead', 'time in the server besides queue and model (median)')
      : []),
    ...(suite === 'decode' && axis === 'constraint'
      ? ofExtra('constraint share', '-share', 'the share of the constraint (median)')
      : []),
    ...(suite !== 'memory' && ['constraints', 'selectivity'].includes(axis)
      ? ofExtra('bytes', '-bytes', 'memory of the structure')
      : []),
  ];
}

function drawAxis(
  suite: string,
  axis: string,
  cases: readonly CaseResult[],
  measure: Measure,
): Chart | undefined {
  const { suffix, title, dimension, baseOf, untilOf } = measure;
  const all = cases.flatMap((one) =>
    timedOf(one).flatMap((rival) => {
      const value = baseOf(rival);
      return value === undefined || !Number.isFinite(value) ? [] : [{ one, rival, value }];
    }),
  );
  const isLog = dimension !== 'share';
  const [points, dropped] = [
    all.filter(({ value }) => !isLog || value > 0),
    all.filter(({ value }) => isLog && value <= 0),
  ];
  if (points.length === 0) return undefined;
  // A logarithmic axis has no place for them: within noise, there was no difference.
  const omitted = dropped.map(
    ({ one, rival, value }) =>
      `${rival.name} at ${shownPlace(axis, one.at)} (${shownBase(value, dimension)})`,
  );
  const looks = looksOf(
    points.map(({ rival }) => rival),
    commonBest(cases),
  );
  const show = (value: number) => shownBase(value, dimension);
  const chart = { name: `${suite}-${axis}${suffix}`, suite, axis, omitted };
  const isNumeric = cases.every(({ at }) => typeof at === 'number');
  if (isNumeric && new Set(points.map(({ one }) => one.at)).size > 1) {
    const names = [...new Set(points.map(({ rival }) => rival.name))];
    const drawing = drawLineChart({
      title,
      xTitle: axisTitle(axis),
      series: names.map((name) => ({
        name,
        look: looks.get(name)!,
        points: points
          .filter(({ rival }) => rival.name === name)
          .map(({ one, rival, value }) => ({
            x: Number(one.at),
            y: value,
            hover: hoverOf(one, rival, show(value)),
          })),
      })),
      y: isLog ? 'log' : 'linear',
      showX: (value) => shownPlace(axis, value),
      showY: show,
    });
    return { ...chart, drawing };
  }
  const withPoints = cases.filter((one) => points.some((point) => point.one === one));
  const drawing = drawDotChart({
    title,
    xTitle:
      untilOf === undefined
        ? title.split(': ')[1]
        : `${title.split(': ')[1]}; the line ends at the 99th percentile`,
    panels: withPoints.map((one) => ({
      heading: `${axis === 'point' ? '' : `${axisTitle(axis)}: `}${pointName(one)}`,
      dots: points
        .filter((point) => point.one === one)
        .map(({ rival, value }) => ({
          name: rival.name,
          look: looks.get(rival.name)!,
          value,
          ...(untilOf !== undefined && { until: untilOf(rival) }),
          note: noteOf(one, rival, show(value)),
          hover: hoverOf(one, rival, show(value)),
        })),
    })),
    scale: isLog ? 'log' : 'linear',
    show,
  });
  return { ...chart, drawing };
}

/** The one of ours that most cases compare with. */
function commonBest(cases: readonly CaseResult[]): string | undefined {
  const names = cases.flatMap((one) => bestOf(one)?.name ?? []);
  const votes = (name: string) => names.filter((other) => other === name).length;
  return names.toSorted((a, b) => votes(b) - votes(a))[0];
}

function pointName({ axis, at, parameters }: CaseResult): string {
  if (axis !== 'point' || parameters.constraints === undefined) return shownPlace(axis, at);
  const { constraints, vocabulary, sidLength, batch, beams } = parameters;
  return `${shownPlace('constraints', constraints)} SIDs, V=${vocabulary}, L=${sidLength}, B=${batch}, M=${beams}`;
}

function noteOf(one: CaseResult, { ratioTo }: Timed, value: string): string {
  const ratio = ratioTo?.[yardstickOf(one)?.name ?? ''];
  return ratio === undefined ? value : `${value}, ${shownTimes(ratio.median)}`;
}

function hoverOf(one: CaseResult, rival: Timed, value: string): string {
  const { name, spread, unit } = rival;
  const ratios = comparisonsOf(one, rival).map(([other, ratio]) => `${shownComparison(ratio)} of ${other}`);
  const rest = [`p95 ${shown(spread.p95, unit)}`, `p99 ${shown(spread.p99, unit)}`, ...ratios];
  return `${name} at ${shownPlace(one.axis, one.at)}: ${value}; ${rest.join(', ')}; ${spread.samples} samples`;
}

/** What was sampled over time, as in a soak run. */
function overTime({ suite, axis, at, series = [] }: CaseResult): Chart[] {
  const panels = series.map(({ name, unit, points }) => ({
    name,
    points: points.map(([seconds, value]) => [seconds, baseValue(value, unit)] as const),
    show: (value: number) => (value === 0 ? '0' : shownBase(value, dimensionOf(unit))),
  }));
  if (panels.every(({ points }) => points.length === 0)) return [];
  const name = `${suite}-${axis}-${String(at).replaceAll(/[^\w-]+/g, '-')}-over-time`;
  const drawing = drawTimeChart({
    title: `${suiteTitle(suite)}: ${axisTitle(axis)} ${shownPlace(axis, at)}, over time`,
    panels,
  });
  return [{ name, suite, axis, drawing, omitted: [] }];
}
