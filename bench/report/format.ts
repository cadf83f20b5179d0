import type { Interval, Unit } from '../harness/types.js';

const inSeconds: Partial<Record<Unit, number>> = { us: 1e-6, ms: 1e-3, s: 1 };

/** Values of one dimension share a chart: times in seconds, all others as they are. */
export type Dimension = 'time' | Exclude<Unit, 'us' | 'ms' | 's'>;

export function dimensionOf(unit: Unit): Dimension {
  return unit === 'us' || unit === 'ms' || unit === 's' ? 'time' : unit;
}

/** Times in seconds; all others as they are. */
export function baseValue(value: number, unit: Unit): number {
  return value * (inSeconds[unit] ?? 1);
}

/** A value with its unit, three digits of it: `148 µs`, `1.84 ms`, `23.2 MB`, `0.25 %`. */
export function shown(value: number, unit: Unit): string {
  return shownBase(baseValue(value, unit), dimensionOf(unit));
}

/** @param value in seconds where it is a time */
export function shownBase(value: number, dimension: Dimension): string {
  if (dimension === 'time') return scaled(value, [1e-9, 1e-6, 1e-3, 1], ['ns', 'µs', 'ms', 's']);
  if (dimension === 'bytes') return scaled(value, [1, 1e3, 1e6, 1e9], ['B', 'kB', 'MB', 'GB']);
  if (dimension === 'bytes/item') return `${threeDigits(value)} B/item`;
  if (dimension === 'share') return `${threeDigits(value * 100)} %`;
  if (dimension === 'per second') return `${threeDigits(value)}/s`;
  return threeDigits(value);
}

/** In the unit of the largest step below it; zero in the smallest. */
function scaled(value: number, steps: readonly number[], units: readonly string[]): string {
  const size = Math.abs(value);
  // 999.6 µs is shown as 1.00 ms.
  let at = steps.findLastIndex((step) => size >= step * 0.9995);
  if (at < 0) at = 0;
  return `${threeDigits(value / steps[at])} ${units[at]}`;
}

/** Three significant digits, whole numbers with separators: `0.0123`, `1.27`, `148`, `20,000`. */
export function threeDigits(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 999.5) return Math.round(value).toLocaleString('en-US');
  if (size < 1e-4) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** `1.27x`; from 10 on without decimals. */
export function shownTimes(factor: number): string {
  if (factor >= 10) return `${Math.round(factor).toLocaleString('en-US')}x`;
  return factor < 0.1 ? `${threeDigits(factor)}x` : `${factor.toFixed(2)}x`;
}

export function shownInterval({ median, low, high }: Interval): string {
  return `${shownTimes(median)} (${shownTimes(low)} to ${shownTimes(high)})`;
}

const sharesOnAxes = ['selectivity', 'decodable', 'load'];

/** A place on an axis: `100k`, `20M`, `2,048`, `0.1 %`. */
export function shownPlace(axis: string, at: number | string): string {
  if (typeof at === 'string') return at;
  if (sharesOnAxes.includes(axis)) return `${Number((at * 100).toPrecision(3))} %`;
  if (at >= 1e6 && at % 1e5 === 0) return `${at / 1e6}M`;
  if (at >= 1e5 && at % 1e3 === 0) return `${at / 1e3}k`;
  return at.toLocaleString('en-US');
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(parts: readonly string[]): string {
  if (parts.length <= 1) return parts.join('');
  return `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}

export function markdownTable(
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cell = (value: string | number) => String(value).replaceAll('|', '\\|').replaceAll('\n', ' ');
  return [header, header.map(() => '---'), ...rows]
    .map((row) => `| ${row.map(cell).join(' | ')} |`)
    .join('\n');
}
