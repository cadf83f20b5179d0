import type { CaseResult, SuiteReport } from '../harness/types.js';
import { listed, shown, shownPlace, shownTimes } from './format.js';
import { casesOf, type Timed, timedOf, yardstickOf } from './input.js';
import { type Lead, leadOf } from './leads.js';
import { type Comparison, comparisonWith } from './ratios.js';

/** What an axis shows, in a sentence or two; undefined where nothing was timed on it. */
export function takeaway(report: SuiteReport, axis: string): string | undefined {
  const cases = casesOf(report, axis).filter((one) => timedOf(one).length > 0);
  if (cases.length === 0) return undefined;
  const sentences = [spanOf(axis, cases)];
  const leads = cases.map(leadOf).filter((lead) => lead !== undefined);
  if (leads.length > 0) sentences.push(rivalsOf(axis, leads));
  sentences.push(...oursBeside(axis, cases));
  return sentences.filter((sentence) => sentence !== '').join(' ');
}

/** From one end of the axis to the other. */
function spanOf(axis: string, cases: readonly CaseResult[]): string {
  const numeric = cases.filter(({ at }) => typeof at === 'number');
  const [first, last] = [cases[0], cases.at(-1)!];
  const [from, to] = [first, last].map(ownTime);
  if (from === undefined || to === undefined) return '';
  const [a, b] = [from, to].map(({ spread, unit }) => shown(spread.p50, unit));
  if (numeric.length === cases.length && cases.length > 1 && from.name === to.name) {
    const [x, y] = [first, last].map(({ at }) => shownPlace(axis, at));
    return `From ${x} to ${y}, ${from.name} goes from ${a} to ${b}.`;
  }
  const parts = cases.flatMap((one) => {
    const own = ownTime(one);
    return own === undefined ? [] : [`${shown(own.spread.p50, own.unit)} at ${shownPlace(axis, one.at)}`];
  });
  return `${from.name}: ${listed(parts)}.`;
}

/** Ours: whom others are compared with, or whoever of ours was measured first. */
export function ownTime(one: CaseResult): Timed | undefined {
  return yardstickOf(one) ?? timedOf(one).find(({ kind }) => kind === 'ours');
}

/** What else of ours was compared: a set against none, two threads against one. Not the kernels among each other. */
function oursBeside(axis: string, cases: readonly CaseResult[]): string[] {
  const found = new Map<string, { at: string; ratio: Comparison; other: string }[]>();
  for (const one of cases) {
    const best = yardstickOf(one);
    if (best === undefined) continue;
    for (const rival of timedOf(one)) {
      const { name, kind } = rival;
      const isAnotherKernel = kernelOf(name) !== undefined && kernelOf(name) !== kernelOf(best.name);
      const ratio = comparisonWith(one, rival, best.name);
      if (kind !== 'ours' || isAnotherKernel || ratio === undefined) continue;
      const entry = { at: shownPlace(axis, one.at), ratio, other: best.name };
      found.set(name, [...(found.get(name) ?? []), entry]);
    }
  }
  return [...found].map(([name, entries]) => {
    const sorted = entries.toSorted((a, b) => a.ratio.median - b.ratio.median);
    const [low, high] = [sorted[0], sorted.at(-1)!];
    const words = ({ at, ratio }: (typeof entries)[number]) => `${shownTimes(ratio.median)} (at ${at})`;
    const range = low === high ? words(low) : `${words(low)} to ${words(high)}`;
    return `Against ${low.other}, ${name} takes ${range}.`;
  });
}

function kernelOf(name: string): string | undefined {
  return /^(native-[a-z0-9]+|js|cuda)(?=-|$)/.exec(name)?.[1];
}

function rivalsOf(axis: string, all: readonly Lead[]): string {
  const exact = all.filter(({ isExact }) => isExact);
  const leads = exact.length > 0 ? exact : all;
  const sorted = leads.toSorted((a, b) => a.ratio.median - b.ratio.median);
  const [near, far] = [sorted[0], sorted.at(-1)!];
  const isOfBytes = leads.every(({ what }) => what === 'bytes');
  const kind = isOfBytes ? 'smallest' : 'fastest';
  const who =
    exact.length > 0 ? `the ${kind} rival with the same results` : `the ${kind} rival, with other results,`;
  const place = ({ one, rival, ratio }: Lead) => {
    const few = ratio.interval === undefined && !ratio.isCounted ? `, too few turns to be sure` : '';
    return `${shownTimes(ratio.median)} of ours at ${shownPlace(axis, one.at)} (${rival.name}${few})`;
  };
  const parts = near === far ? place(near) : `between ${place(near)} and ${place(far)}`;
  const lost = leads
    .filter(({ verdict }) => verdict === 'level' || verdict === 'behind')
    .map(({ one }) => shownPlace(axis, one.at));
  const loss = lost.length === 0 ? '' : ` Ours is not ${isOfBytes ? 'smaller' : 'ahead'} at ${listed(lost)}.`;
  return `Here ${who} takes ${parts}.${loss}`;
}
