import type { CaseResult } from '../harness/types.js';
import { dimensionOf } from './format.js';
import { type Timed, timedOf, yardstickOf } from './input.js';
import { hasOtherResults } from './names.js';
import { type Comparison, comparisonWith } from './ratios.js';

/** Ours beside the fastest of the others in one case, or where bytes were counted, beside the smallest. */
export interface Lead {
  one: CaseResult;
  best: Timed;
  rival: Timed;
  /** The rival's time or bytes over ours. */
  ratio: Comparison;
  /** By the ratio's interval: level where that has 1 in it, undefined where there is none. Bytes need none. */
  verdict: 'ahead' | 'level' | 'behind' | undefined;
  /** False where only such rivals ran as find something else. */
  isExact: boolean;
  /** Bytes need words of their own: what is smaller is not faster. */
  what: 'time' | 'bytes' | 'other';
}

/** Undefined where no rival was compared with ours. */
export function leadOf(one: CaseResult): Lead | undefined {
  const best = yardstickOf(one);
  if (best === undefined) return undefined;
  const compared = timedOf(one).filter(
    ({ kind, ratioTo = {} }) => kind === 'rival' && ratioTo[best.name] !== undefined,
  );
  const exact = compared.filter((rival) => !hasOtherResults(rival));
  const ratioOf = (rival: Timed) => comparisonWith(one, rival, best.name)!;
  const candidates = exact.length > 0 ? exact : compared;
  const [rival] = candidates.toSorted((a, b) => ratioOf(a).median - ratioOf(b).median);
  if (rival === undefined) return undefined;
  const ratio = ratioOf(rival);
  const what = ratio.isCounted ? 'bytes' : dimensionOf(best.unit) === 'time' ? 'time' : 'other';
  return { one, best, rival, ratio, verdict: verdictOf(ratio), isExact: exact.length > 0, what };
}

function verdictOf({ median, interval, isCounted }: Comparison): Lead['verdict'] {
  const range = interval ?? (isCounted ? { low: median, high: median } : undefined);
  if (range === undefined) return undefined;
  return range.low > 1 ? 'ahead' : range.high < 1 ? 'behind' : 'level';
}

/** One of each measurement: several axes of a suite go through its usual point, which is measured once. */
export function distinct(leads: readonly Lead[]): Lead[] {
  const seen = new Map<string, Lead>();
  for (const lead of leads) {
    const { suite, parameters, rivals } = lead.one;
    const names = rivals.map(({ name }) => name).sort();
    const key = JSON.stringify([suite, Object.entries(parameters).sort(), lead.best.name, names]);
    if (!seen.has(key)) seen.set(key, lead);
  }
  return [...seen.values()];
}
