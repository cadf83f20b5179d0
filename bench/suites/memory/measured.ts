import type { Verdict } from '../../harness/contest.js';
import { spreadOf } from '../../harness/statistics.js';
import type { RivalResult, Unit } from '../../harness/types.js';

/** A rival's bytes, and whether what takes them is right. */
export interface Measured {
  name: string;
  kind: RivalResult['kind'];
  isApproximate?: boolean;
  unit: Extract<Unit, 'bytes' | 'bytes/item'>;
  /** One value where it is counted, several where the system is asked again and again. */
  values: readonly number[];
  verdict: Verdict;
}

/** A result that was measured rather than timed; one that fails its check has none. */
export function measuredResult({ name, kind, isApproximate, unit, values, verdict }: Measured): RivalResult {
  const { fault, hash, extras } = verdict;
  const result: RivalResult = {
    name,
    kind,
    status: 'timed',
    ...(isApproximate && { isApproximate }),
    ...(hash !== undefined && { resultHash: hash }),
    ...(extras !== undefined && { extras }),
  };
  if (fault !== undefined) return { ...result, status: 'failed', reason: fault };
  return { ...result, unit, spread: spreadOf(values) };
}

/** Adds how many times as many bytes each has as the first: a count, which has no interval. */
export function compareWithFirst(results: readonly RivalResult[]): void {
  const [first, ...others] = results;
  if (first?.spread === undefined) return;
  for (const other of others) {
    const isSame = other.isApproximate || other.resultHash === first.resultHash;
    if (other.spread === undefined || other.unit !== first.unit || !isSame) continue;
    const ratio = other.spread.p50 / first.spread.p50;
    other.ratioTo = { [first.name]: { median: ratio } };
  }
}
