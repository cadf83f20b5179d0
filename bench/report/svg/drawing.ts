import { escaped, textWidth } from './text.js';

/** How a series looks: nothing but shape and colour tell it, and no two neighbours share both. */
export interface Look {
  /** Class of its colour, see `style`. */
  colour: 'ours' | 'ours-too' | 'floor' | 'a' | 'b' | 'c' | 'd';
  mark: 'circle' | 'square' | 'triangle' | 'diamond' | 'cross';
  dash: string;
  isThick: boolean;
}

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Text {
  x: number;
  /** Of the middle of the line. */
  y: number;
  text: string;
  size: number;
  anchor: 'start' | 'middle' | 'end';
  kind: 'title' | 'label' | 'strong' | 'tick';
}

export interface Line {
  points: readonly (readonly [number, number])[];
  kind: 'grid' | 'axis' | 'leader' | 'whisker' | 'series';
  look?: Look;
}

export interface Mark {
  x: number;
  y: number;
  look: Look;
  /** Shown where the pointer rests. */
  hover: string;
}

/** A picture before it is written: its geometry can be checked. Lines lie below marks, marks below text. */
export interface Drawing {
  width: number;
  height: number;
  /** For those who cannot see it. */
  about: string;
  texts: Text[];
  lines: Line[];
  marks: Mark[];
  /** Marks beside names, which say how a series looks. */
  keys: Mark[];
}

export function boxOf({ x, y, text, size, anchor }: Text): Box {
  const width = textWidth(text, size);
  const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
  return { left, right: left + width, top: y - size * 0.5, bottom: y + size * 0.5 };
}

export function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/**
 * Colours that stay apart for colour-blind readers (after Okabe and Ito), each in a shade for light and one for dark
 * ground.
 */
export const style = `
.chart { --ground: #ffffff; --ink: #1f2328; --faint: #59636e; --grid: #e3e6ea; --ours: #0067b0; --ours-too: #4a90c4;
  --floor: #7a828a; --a: #c4500a; --b: #00845f; --c: #ad4f86; --d: #8a6a00; }
@media (prefers-color-scheme: dark) {
  .chart { --ground: #0d1117; --ink: #e6edf3; --faint: #9aa4af; --grid: #2b3138; --ours: #58b6f5; --ours-too: #3f8fc7;
    --floor: #8b949e; --a: #f0803c; --b: #2fc79b; --c: #e08abb; --d: #d9b43a; }
}
.chart .ground { fill: var(--ground); }
.chart text { font-family: Helvetica, Arial, 'Liberation Sans', sans-serif; fill: var(--ink);
  paint-order: stroke; stroke: var(--ground); stroke-width: 3px; stroke-linejoin: round; }
.chart .title, .chart .strong { font-weight: 600; }
.chart .tick { fill: var(--faint); }
.chart .grid { stroke: var(--grid); } .chart .axis { stroke: var(--faint); }
.chart .leader { stroke: var(--faint); stroke-width: 0.8; stroke-dasharray: 1 2; }
.chart path { fill: none; }
${(['ours', 'ours-too', 'floor', 'a', 'b', 'c', 'd'] as const)
  .map((name) => `.chart .${name} { stroke: var(--${name}); }`)
  .join('\n')}
`.trim();

/** @param withStyle false where the page around it has `style` already */
export function writeSvg(drawing: Drawing, withStyle = true): string {
  const { width, height, about, texts, lines, marks, keys } = drawing;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(about)}">`,
    ...(withStyle ? [`<style>${style}</style>`] : []),
    `<rect class="ground" width="${width}" height="${height}"/>`,
    ...lines.map(writeLine),
    '<g>',
    ...marks.map((mark) => writeMark(mark, 'mark')),
    ...keys.map((key) => writeMark(key, 'key')),
    '</g>',
    ...texts.map(writeText),
    '</svg>',
  ].join('\n');
}

function writeLine({ points, kind, look }: Line): string {
  const path = points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${short(x)} ${short(y)}`).join('');
  if (look === undefined) return `<path class="${kind}" d="${path}"/>`;
  const width = kind === 'whisker' ? 1.5 : look.isThick ? 3 : 1.5;
  const dash = look.dash === '' ? '' : ` stroke-dasharray="${look.dash}"`;
  return `<path class="${look.colour}" stroke-width="${width}"${dash} d="${path}"/>`;
}

function writeMark({ x, y, look, hover }: Mark, kind: 'mark' | 'key'): string {
  const r = look.isThick ? 5 : 4;
  const title = hover === '' ? '' : `<title>${escaped(hover)}</title>`;
  const shapes = {
    circle: `M${short(x - r)} ${short(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    square: `M${short(x - r + 0.5)} ${short(y - r + 0.5)}h${2 * r - 1}v${2 * r - 1}h${1 - 2 * r}z`,
    triangle: `M${short(x)} ${short(y - r)}l${r} ${2 * r - 1}h${-2 * r}z`,
    diamond: `M${short(x)} ${short(y - r - 0.5)}l${r} ${r + 0.5}l${-r} ${r + 0.5}l${-r} ${-r - 0.5}z`,
    cross: `M${short(x - r)} ${short(y - 1.2)}h${r - 1.2}v${1.2 - r}h2.4v${r - 1.2}h${r - 1.2}v2.4h${1.2 - r}v${r - 1.2}h-2.4v${1.2 - r}h${1.2 - r}z`,
  };
  return `<path class="${kind}" d="${shapes[look.mark]}" style="fill:var(--${look.colour})">${title}</path>`;
}

function writeText({ x, y, text, size, anchor, kind }: Text): string {
  const place = `x="${short(x)}" y="${short(y + size * 0.35)}" font-size="${size}"`;
  return `<text class="${kind}" ${place} text-anchor="${anchor}">${escaped(text)}</text>`;
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}
