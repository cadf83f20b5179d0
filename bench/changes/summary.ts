/** Of some measurements: the middle, the spread, and how many there were. */
export function summary(values: readonly number[]): Record<string, number> {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  return { p50: at(0.5), p95: at(0.95), min: round(sorted[0]), max: at(1), samples: sorted.length };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
