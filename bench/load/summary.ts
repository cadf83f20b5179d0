import { median, quantile } from '../harness/statistics.js';
import type { Sample } from './generator.js';

/** How much slower than before the overload counts as back to what it was. */
const RECOVERED = 1.5;
const WINDOW_MS = 1_000;

export interface Spread {
  p50: number;
  p95: number;
  p99: number;
  max: number;
  samples: number;
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) return { p50: 0, p95: 0, p99: 0, max: 0, samples: 0 };
  return {
    p50: quantile(values, 0.5),
    p95: quantile(values, 0.95),
    p99: quantile(values, 0.99),
    max: quantile(values, 1),
    samples: values.length,
  };
}

export function outcomesOf(samples: readonly Sample[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { outcome } of samples) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

/** What must not be: outcomes that are not allowed, and answers that are wrong. */
export function wrongIn(samples: readonly Sample[], allowed: readonly string[]): string[] {
  return samples
    .filter(({ outcome, fault }) => fault !== undefined || !allowed.includes(outcome))
    .map(({ outcome, fault }) => fault ?? outcome);
}

/** Memory in the last third of the overload, to that in its first. */
export function memoryGrowth(
  samples: readonly { atMs: number; rssBytes: number }[],
  beginMs: number,
  endMs: number,
): number {
  const third = (endMs - beginMs) / 3;
  const within = (fromMs: number) =>
    median(
      samples.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + third).map(({ rssBytes }) => rssBytes),
    );
  return within(endMs - third) / within(beginMs);
}

/**
 * Seconds after an overload until a second's p99 was again what it had been.
 * @returns null where it never was
 */
export function recoverySeconds(samples: readonly Sample[], beginMs: number, endMs: number): number | null {
  const p99From = (fromMs: number) => {
    const found = samples.filter(({ intendedMs }) => intendedMs >= fromMs && intendedMs < fromMs + WINDOW_MS);
    const isWhole = found.length > 0 && found.every(({ outcome }) => outcome === 'answer');
    return isWhole
      ? quantile(
          found.map(({ latencyMs }) => latencyMs),
          0.99,
        )
      : Number.POSITIVE_INFINITY;
  };
  const before: number[] = [];
  for (let fromMs = 0; fromMs + WINDOW_MS <= beginMs; fromMs += WINDOW_MS) before.push(p99From(fromMs));
  const limitMs = median(before) * RECOVERED;
  const lastMs = Math.max(...samples.map(({ intendedMs }) => intendedMs));
  for (let fromMs = endMs; fromMs + WINDOW_MS <= lastMs; fromMs += WINDOW_MS) {
    if (p99From(fromMs) <= limitMs) return (fromMs + WINDOW_MS - endMs) / 1000;
  }
  return null;
}
