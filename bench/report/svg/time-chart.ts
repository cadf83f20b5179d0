import type { Drawing, Look, Text } from './drawing.js';
import { withoutOverlaps } from './labels.js';
import { linearScale } from './scale.js';
import { textWidth } from './text.js';

export interface TimeChart {
  title: string;
  /** One under the other, over the same time. */
  panels: readonly {
    name: string;
    points: readonly (readonly [seconds: number, value: number])[];
    show(value: number): string;
  }[];
}

const WIDTH = 860;
const PANEL = 110;
const HEADING = 26;
const look: Look = { colour: 'ours', mark: 'circle', dash: '', isThick: false };

/** What was sampled over time, from 0 up, so that growth is not larger to the eye than it is. */
export function drawTimeChart({ title, panels }: TimeChart): Drawing {
  const drawn = panels.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) throw new Error(`${title}: nothing to draw`);
  const seconds = Math.max(...drawn.flatMap(({ points }) => points.map(([at]) => at)));
  const scales = drawn.map(({ points, show }, index) => {
    const top = 40 + index * (PANEL + HEADING) + HEADING;
    return linearScale(Math.max(...points.map(([, value]) => value)) * 1.1, [top + PANEL - 10, top], show);
  });
  const left =
    16 + Math.max(...scales.flatMap(({ ticks }) => ticks.map(({ label }) => textWidth(label, 11))));
  const right = WIDTH - 40;
  const [unit, size] = seconds >= 180 ? ['minutes', 60] : ['seconds', 1];
  const time = linearScale(seconds / size, [left, right], String);
  const bottom = 40 + drawn.length * (PANEL + HEADING) - 10;
  const drawing: Drawing = {
    width: WIDTH,
    height: bottom + 50,
    about: `${title}: ${drawn.map(({ name }) => name).join(', ')}`,
    texts: [{ x: 12, y: 20, text: title, size: 15, anchor: 'start', kind: 'title' }],
    lines: [],
    marks: [],
    keys: [],
  };
  drawn.forEach(({ name, points }, index) => {
    const scale = scales[index];
    const top = scale.at(0) - PANEL + 10;
    drawing.texts.push({ x: left, y: top - 13, text: name, size: 12, anchor: 'start', kind: 'strong' });
    const ticks = scale.ticks.map(({ value, label }): Text => {
      return { x: left - 6, y: scale.at(value), text: label, size: 11, anchor: 'end', kind: 'tick' };
    });
    drawing.texts.push(...withoutOverlaps(ticks));
    for (const { value } of scale.ticks) {
      const at = scale.at(value);
      drawing.lines.push({
        kind: value === 0 ? 'axis' : 'grid',
        points: [
          [left, at],
          [right, at],
        ],
      });
    }
    const path = points.map(([at, value]) => [time.at(at / size), scale.at(value)] as const);
    drawing.lines.push({ kind: 'series', points: path, look });
  });
  const ticks = time.ticks.map(({ value, label }): Text => {
    return { x: time.at(value), y: bottom + 14, text: label, size: 11, anchor: 'middle', kind: 'tick' };
  });
  drawing.texts.push(...withoutOverlaps(ticks));
  const middle = (left + right) / 2;
  drawing.texts.push({ x: middle, y: bottom + 34, text: unit, size: 12, anchor: 'middle', kind: 'label' });
  return drawing;
}
