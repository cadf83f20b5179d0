import type { CaseResult, Interval, SuiteReport } from '../harness/types.js';
import { listed, shown, shownInterval, shownPlace, shownTimes } from './format.js';
import { casesOf, type Results, type Timed, timedOf, yardstickOf } from './input.js';
import { axisTitle } from './names.js';

/** Ours beside the fastest of the others in one case. */
export interface Lead {
  one: CaseResult;
  best: Timed;
  rival: Timed;
  /** The rival's time over ours. */
  ratio: Interval;
  /** By the ratio's interval: level where that has 1 in it. */
  verdict: 'ahead' | 'level' | 'behind';
  /** False where only such rivals ran as find something else. */
  isExact: boolean;
}

/** Undefined where no rival was compared with ours. */
export function leadOf(one: CaseResult): Lead | undefined {
  const best = yardstickOf(one);
  if (best === undefined) return undefined;
  const compared = timedOf(one).filter(
    ({ kind, ratioTo = {} }) => kind === 'rival' && ratioTo[best.name] !== undefined,
  );
  const exact = compared.filter(({ isApproximate }) => !isApproximate);
  const ratioOf = ({ ratioTo }: Timed) => ratioTo![best.name];
  const candidates = exact.length > 0 ? exact : compared;
  const [rival] = candidates.toSorted((a, b) => ratioOf(a).median - ratioOf(b).median);
  if (rival === undefined) return undefined;
  const ratio = ratioOf(rival);
  const verdict = ratio.low > 1 ? 'ahead' : ratio.high < 1 ? 'behind' : 'level';
  return { one, best, rival, ratio, verdict, isExact: exact.length > 0 };
}

/** Where we lead and where we don't, in sentences made of the numbers. */
export function summarize({ suites }: Results): string[] {
  const leads = [...suites.values()].flatMap(({ cases }) => cases).map(leadOf);
  const found = leads.filter((lead) => lead !== undefined);
  if (found.length === 0) return ['Nothing has been compared yet.'];
  const exact = found.filter(({ isExact }) => isExact);
  const sentences: string[] = [];
  if (exact.length > 0) sentences.push(...comparedWithExact(exact));
  const others = found.filter(({ isExact }) => !isExact);
  if (others.length > 0) {
    const behind = others.filter(({ verdict }) => verdict !== 'ahead');
    sentences.push(
      `In ${others.length} further cases the rivals come to another kind of result (a structure for one set, or beams that are no items): ` +
        `ours is ahead in ${others.length - behind.length}${behind.length > 0 ? `, and not in ${behind.map(named).join('; ')}` : ''}.`,
    );
  }
  const faster = found.flatMap(({ one, best }) =>
    timedOf(one).filter(
      ({ kind, isApproximate, ratioTo = {} }) =>
        kind === 'rival' && isApproximate && one.suite === 'step' && ratioTo[best.name]?.high < 1,
    ),
  );
  if (faster.length > 0) {
    const names = listed([...new Set(faster.map(({ name }) => name))]);
    sentences.push(`Faster than ours, with other results: ${names}, in ${counted(faster.length, 'case')}.`);
  }
  return sentences;
}

function comparedWithExact(leads: readonly Lead[]): string[] {
  const of = (verdict: Lead['verdict']) => leads.filter((lead) => lead.verdict === verdict);
  const [ahead, level, behind] = [of('ahead'), of('level'), of('behind')];
  const ratios = leads.map(({ ratio }) => ratio.median).sort((a, b) => a - b);
  const sentences = [
    `Ours is ahead of the fastest rival with the same results in ${ahead.length} of ${counted(leads.length, 'case')}` +
      `, level in ${level.length} and behind in ${behind.length}; that rival takes ${shownTimes(ratios[0])} to ${shownTimes(ratios.at(-1)!)} of ours, ` +
      `${shownTimes(ratios[Math.floor(ratios.length / 2)])} in the middle.`,
  ];
  if (behind.length > 0) sentences.push(`Behind: ${behind.map(named).join('; ')}.`);
  if (level.length > 0) sentences.push(`Level, with 1 in the interval: ${level.map(placeOf).join('; ')}.`);
  const nearest = [...new Set(leads.map(({ rival }) => rival.name))];
  sentences.push(`The fastest rival is ${nearest.length > 1 ? 'one of ' : ''}${listed(nearest.toSorted())}.`);
  return sentences;
}

function named(lead: Lead): string {
  return `${placeOf(lead)} (${lead.rival.name} takes ${shownInterval(lead.ratio)} of ours)`;
}

function placeOf({ one }: Lead): string {
  return `${one.suite} at ${axisTitle(one.axis)} ${shownPlace(one.axis, one.at)}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

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
  const found = new Map<string, { at: string; ratio: Interval; other: string }[]>();
  for (const one of cases) {
    const best = yardstickOf(one);
    if (best === undefined) continue;
    for (const { name, kind, ratioTo = {} } of timedOf(one)) {
      const isAnotherKernel = kernelOf(name) !== undefined && kernelOf(name) !== kernelOf(best.name);
      const ratio = ratioTo[best.name];
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

function rivalsOf(axis: string, leads: readonly Lead[]): string {
  const sorted = leads.toSorted((a, b) => a.ratio.median - b.ratio.median);
  const [near, far] = [sorted[0], sorted.at(-1)!];
  const who = leads.every(({ isExact }) => isExact)
    ? 'the fastest rival with the same results'
    : 'the fastest rival';
  const place = ({ one, rival, ratio }: Lead) =>
    `${shownTimes(ratio.median)} of ours at ${shownPlace(axis, one.at)} (${rival.name})`;
  const parts = near === far ? place(near) : `between ${place(near)} and ${place(far)}`;
  const lost = leads.filter(({ verdict }) => verdict !== 'ahead').map(({ one }) => shownPlace(axis, one.at));
  const loss = lost.length === 0 ? '' : ` Ours is not ahead at ${listed(lost)}.`;
  return `Here ${who} takes ${parts}.${loss}`;
}
