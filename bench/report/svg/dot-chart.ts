import type { Drawing, Look, Text } from './drawing.js';
import { withoutOverlaps } from './labels.js';
import { linearScale, logScale, padded } from './scale.js';
import { textWidth } from './text.js';

export interface Dot {
  name: string;
  look: Look;
  value: number;
  /** Where a line from the value ends, such as its 99th percentile. */
  until?: number;
  /** Beside it: the value in words. */
  note: string;
  hover: string;
}

export interface DotChart {
  title: string;
  xTitle: string;
  /** Rows under a heading each; one without a heading where there is one. */
  panels: readonly { heading: string; dots: readonly Dot[] }[];
  scale: 'log' | 'linear';
  show(value: number): string;
}

const WIDTH = 860;
const ROW = 19;
const HEADING = 28;
const TOP = 40;

/** One row for each, sorted by what it takes. @throws Error where there is nothing to draw */
export function drawDotChart({ title, xTitle, panels, scale, show }: DotChart): Drawing {
  const dots = panels.flatMap((panel) => panel.dots);
  if (dots.length === 0) throw new Error(`${title}: nothing to draw`);
  const left = 22 + Math.max(...dots.map(({ name }) => textWidth(name, 12)));
  const right = WIDTH - 24 - Math.max(...dots.map(({ note }) => textWidth(note, 11)));
  const values = dots.flatMap(({ value, until = value }) => [value, until]);
  const x =
    scale === 'log'
      ? logScale(padded(values), [left, right], show)
      : linearScale(Math.max(...values), [left, right], show);
  const drawing: Drawing = {
    width: WIDTH,
    height: 0,
    about: `${title}: ${dots.map(({ name, note }) => `${name} ${note}`).join(', ')}`,
    texts: [{ x: 12, y: 20, text: title, size: 15, anchor: 'start', kind: 'title' }],
    lines: [],
    marks: [],
    keys: [],
  };
  const rows: { dot: Dot; y: number }[] = [];
  let y = TOP;
  for (const { heading, dots } of panels) {
    if (heading !== '') {
      drawing.texts.push({ x: 12, y: y + 12, text: heading, size: 12, anchor: 'start', kind: 'strong' });
      y += HEADING;
    }
    for (const dot of dots.toSorted((a, b) => a.value - b.value)) {
      rows.push({ dot, y: y + ROW / 2 });
      y += ROW;
    }
  }
  const bottom = y + 4;
  drawing.height = bottom + 50;
  for (const { value } of x.ticks) {
    drawing.lines.push({
      kind: 'grid',
      points: [
        [x.at(value), TOP - 4],
        [x.at(value), bottom],
      ],
    });
  }
  drawing.lines.push({
    kind: 'axis',
    points: [
      [left, bottom],
      [right, bottom],
    ],
  });
  const ticks = x.ticks.map(({ value, label }): Text => {
    return { x: x.at(value), y: bottom + 14, text: label, size: 11, anchor: 'middle', kind: 'tick' };
  });
  drawing.texts.push(...withoutOverlaps(ticks));
  const middle = (left + right) / 2;
  drawing.texts.push({ x: middle, y: bottom + 34, text: xTitle, size: 12, anchor: 'middle', kind: 'label' });
  for (const { dot, y } of rows) {
    const { name, look, value, until = value, note, hover } = dot;
    const end = x.at(Math.max(value, until));
    const kind = look.isThick ? 'strong' : 'label';
    drawing.texts.push({ x: left - 10, y, text: name, size: 12, anchor: 'end', kind });
    if (until > value)
      drawing.lines.push({
        kind: 'whisker',
        look: { ...look, dash: '' },
        points: [
          [x.at(value), y],
          [end, y],
        ],
      });
    drawing.marks.push({ x: x.at(value), y, look, hover });
    drawing.texts.push({ x: end + 9, y, text: note, size: 11, anchor: 'start', kind: 'tick' });
  }
  return drawing;
}
