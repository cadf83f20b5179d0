import { type Interval, intervalOfMedian, median, quantile } from './statistics.js';

/** Two rivals that took turns: times[level][turn] in microseconds become means over the levels, turn by turn. */
export interface Paired {
  /** [levels] medians. */
  levels: { leftUs: number; rightUs: number }[];
  leftUs: Interval;
  rightUs: Interval;
  leftP99Us: number;
  rightP99Us: number;
  /** left / right and left - right of the same turn. */
  ratio: Interval;
  differenceUs: Interval;
}

export function paired(left: readonly number[][], right: readonly number[][]): Paired {
  const meansOf = (times: readonly number[][]) =>
    times[0].map((_, turn) => times.reduce((sum, level) => sum + level[turn], 0) / times.length);
  const lefts = meansOf(left);
  const rights = meansOf(right);
  return {
    levels: left.map((times, depth) => ({ leftUs: median(times), rightUs: median(right[depth]) })),
    leftUs: intervalOfMedian(lefts),
    rightUs: intervalOfMedian(rights),
    leftP99Us: quantile(lefts, 0.99),
    rightP99Us: quantile(rights, 0.99),
    ratio: intervalOfMedian(lefts.map((time, turn) => time / rights[turn])),
    differenceUs: intervalOfMedian(lefts.map((time, turn) => time - rights[turn])),
  };
}

export function timeUs(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1000;
}

export function shown({ median: middle, low, high }: Interval, digits = 3): string {
  return `${middle.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}
