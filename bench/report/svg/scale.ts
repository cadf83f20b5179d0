/** From values to places along an axis. */
export interface Scale {
  at(value: number): number;
  ticks: readonly { value: number; label: string }[];
}

/**
 * Values of a logarithmic axis worth a line: powers of ten; where those are fewer than three, with 3 between them, or
 * with 2 and 5, or with as many as it takes.
 * @param low above 0. @param high not below `low`
 */
export function logTicks(low: number, high: number): number[] {
  const candidates = [[1], [1, 3], [1, 2, 5], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]];
  let found: number[] = [];
  for (const steps of candidates) {
    found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = Number(`${step}e${power}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length >= 3) break;
  }
  return found;
}

/** Round values of a linear axis from 0, about four of them. */
export function linearTicks(high: number): number[] {
  if (!(high > 0)) return [0];
  const rough = high / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999)!;
  const count = Math.floor(high / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** @param from where `low` lies. @param to where `high` lies */
export function logScale(
  [low, high]: readonly [number, number],
  [from, to]: readonly [number, number],
  label: (value: number) => string,
): Scale {
  const [a, b] = [Math.log(low), Math.log(high)];
  return {
    at: (value) => (a === b ? (from + to) / 2 : from + ((Math.log(value) - a) / (b - a)) * (to - from)),
    ticks: logTicks(low, high).map((value) => ({ value, label: label(value) })),
  };
}

export function linearScale(
  high: number,
  [from, to]: readonly [number, number],
  label: (value: number) => string,
): Scale {
  const most = high > 0 ? high : 1;
  return {
    at: (value) => from + (value / most) * (to - from),
    ticks: linearTicks(most).map((value) => ({ value, label: label(value) })),
  };
}

/** The least that a logarithmic axis spans: less would make noise look like a slope. */
export const LEAST_SPAN = 4;

/** A little room around what a logarithmic axis shows. @param values above 0 */
export function padded(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((high / low) ** 0.04, 1.08, Math.sqrt(LEAST_SPAN / (high / low)));
  return [low / room, high * room];
}
