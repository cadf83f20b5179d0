import type { Drawing, Look, Text } from './drawing.js';
import { spreadOut, withoutOverlaps } from './labels.js';
import { linearScale, logScale, padded, type Scale } from './scale.js';
import { textWidth } from './text.js';

export interface Series {
  name: string;
  look: Look;
  points: readonly { x: number; y: number; hover: string }[];
}

export interface LineChart {
  title: string;
  xTitle: string;
  series: readonly Series[];
  /** `log` where no value is 0 or below. */
  y: 'log' | 'linear';
  showX(value: number): string;
  showY(value: number): string;
}

const WIDTH = 860;
const TOP = 44;
const BOTTOM = 50;
const LABEL_GAP = 15;

/** Lines over an axis, each with its name at its end. @throws Error where there is nothing to draw */
export function drawLineChart(chart: LineChart): Drawing {
  const { title, xTitle, series, y, showX, showY } = chart;
  const points = series.flatMap((one) => one.points);
  if (points.length === 0) throw new Error(`${title}: nothing to draw`);
  const nameWidth = Math.max(...series.map(({ name }) => textWidth(name, 12)));
  const right = WIDTH - nameWidth - 46;
  const plotHeight = Math.max(270, (series.length - 1) * LABEL_GAP + 20);
  const bottom = TOP + plotHeight;
  const values = points.map((point) => point.y);
  const yRange: [number, number] = [bottom, TOP];
  const yScale =
    y === 'log'
      ? logScale(padded(values), yRange, showY)
      : linearScale(Math.max(...values) * 1.05, yRange, showY);
  const left = 14 + Math.max(...yScale.ticks.map(({ label }) => textWidth(label, 11)));
  const places = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const xScale = placeScale(places, [left + 16, right], showX);
  const drawing: Drawing = {
    width: WIDTH,
    height: bottom + BOTTOM,
    about: `${title}, over ${xTitle}: ${series.map(({ name }) => name).join(', ')}`,
    texts: [{ x: 12, y: 20, text: title, size: 15, anchor: 'start', kind: 'title' }],
    lines: [],
    marks: [],
    keys: [],
  };
  for (const { value, label } of yScale.ticks) {
    const at = yScale.at(value);
    drawing.lines.push({
      kind: 'grid',
      points: [
        [left, at],
        [right + 6, at],
      ],
    });
    drawing.texts.push({ x: left - 6, y: at, text: label, size: 11, anchor: 'end', kind: 'tick' });
  }
  drawing.lines.push({
    kind: 'axis',
    points: [
      [left, bottom],
      [right + 6, bottom],
    ],
  });
  for (const { value } of xScale.ticks) {
    const at = xScale.at(value);
    drawing.lines.push({
      kind: 'axis',
      points: [
        [at, bottom],
        [at, bottom + 4],
      ],
    });
  }
  const xTick = ({ value, label }: Scale['ticks'][number]): Text => {
    return { x: xScale.at(value), y: bottom + 14, text: label, size: 11, anchor: 'middle', kind: 'tick' };
  };
  drawing.texts.push(...withoutOverlaps(xScale.ticks.map(xTick)));
  const middle = (left + right) / 2;
  drawing.texts.push({ x: middle, y: bottom + 34, text: xTitle, size: 12, anchor: 'middle', kind: 'label' });

  // The thick line is ours: above the others.
  for (const { look, points } of series.toSorted((a, b) => Number(a.look.isThick) - Number(b.look.isThick))) {
    const sorted = points.toSorted((a, b) => a.x - b.x);
    const path = sorted.map(({ x, y }) => [xScale.at(x), yScale.at(y)] as const);
    if (path.length > 1) drawing.lines.push({ kind: 'series', points: path, look });
    sorted.forEach(({ hover }, index) => {
      drawing.marks.push({ x: path[index][0], y: path[index][1], look, hover });
    });
  }
  addNames(drawing, chart.series, { xScale, yScale, right, bottom });
  return drawing;
}

/** Names at the right, each beside the end of its line or tied to it. */
function addNames(
  drawing: Drawing,
  series: readonly Series[],
  { xScale, yScale, right, bottom }: { xScale: Scale; yScale: Scale; right: number; bottom: number },
): void {
  const drawn = series.filter(({ points }) => points.length > 0);
  const ends = drawn.map(({ points }) => points.reduce((last, point) => (point.x >= last.x ? point : last)));
  const wanted = ends.map((end) => yScale.at(end.y));
  const placed = spreadOut(wanted, LABEL_GAP, TOP + 4, bottom - 4);
  drawn.forEach(({ name, look }, index) => {
    const [x, y] = [right + 38, placed[index]];
    const kind = look.isThick ? 'strong' : 'label';
    drawing.texts.push({ x, y, text: name, size: 12, anchor: 'start', kind });
    drawing.keys.push({ x: x - 8, y, look, hover: '' });
    const end = [xScale.at(ends[index].x), wanted[index]] as const;
    drawing.lines.push({ kind: 'leader', points: [end, [x - 15, y]] });
  });
}

/**
 * Where measured places lie: on a logarithmic axis where they are above 0; with a 0, that has a place of its own left
 * of them; a few small numbers lie side by side.
 */
function placeScale(
  places: readonly number[],
  [from, to]: readonly [number, number],
  show: (value: number) => string,
): Scale {
  const ticks = places.map((value) => ({ value, label: show(value) }));
  const positive = places.filter((value) => value > 0);
  const isFew = positive.length < 2 || positive.at(-1)! / positive[0] < 4;
  if (isFew) {
    const step = (to - from) / Math.max(1, places.length - 1);
    return { at: (value) => from + places.indexOf(value) * step, ticks };
  }
  const hasZero = positive.length < places.length;
  const start = hasZero ? from + (to - from) / (positive.length + 1) : from;
  const { at } = logScale([positive[0], positive.at(-1)!], [start, to], show);
  return { at: (value) => (value > 0 ? at(value) : from), ticks };
}
