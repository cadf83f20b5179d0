import { LEAST_SAMPLES } from '../harness/statistics.js';
import type { CaseResult } from '../harness/types.js';
import { listed, shownPlace, shownTimes } from './format.js';
import { type Results, timedOf } from './input.js';
import { distinct, type Lead, leadOf } from './leads.js';
import { axisTitle, hasOtherResults } from './names.js';
import { comparisonWith, shownComparison } from './ratios.js';

/** Where we lead and where we don't, in sentences made of the numbers: of times first, then of bytes. */
export function summarize({ suites }: Results): string[] {
  const cases = [...suites.values()].flatMap((report) => report.cases);
  const found = distinct(cases.map(leadOf).filter((lead) => lead !== undefined));
  const times = found.filter(({ what }) => what === 'time');
  const bytes = found.filter(({ what }) => what === 'bytes');
  const sentences = [...ofTimes(times), ...ofBytes(bytes)];
  return sentences.length > 0 ? sentences : ['Nothing has been compared yet.'];
}

function ofTimes(leads: readonly Lead[]): string[] {
  const judged = leads.filter(({ verdict }) => verdict !== undefined);
  const exact = judged.filter(({ isExact }) => isExact);
  const others = judged.filter(({ isExact }) => !isExact);
  const sentences = exact.length > 0 ? ofExact(exact) : [];
  if (others.length > 0) {
    const behind = others.filter(({ verdict }) => verdict !== 'ahead');
    sentences.push(
      `In ${counted(others.length, 'further measurement')} the rivals come to another kind of result (a structure for one set, a sort and no index, or beams that are no items): ` +
        `ours is ahead in ${others.length - behind.length}${behind.length > 0 ? `, and not in ${behind.map(named).join('; ')}` : ''}.`,
    );
  }
  const unsure = leads.filter(({ verdict }) => verdict === undefined);
  if (unsure.length > 0) {
    sentences.push(
      `In ${counted(unsure.length, 'further measurement')} fewer than ${LEAST_SAMPLES} turns were timed, which is too few for an interval: ` +
        `nobody is counted as ahead there (${placesBySuite(unsure)}).`,
    );
  }
  const faster = leads.flatMap(({ one, best }) =>
    timedOf(one).filter(
      (rival) =>
        one.suite === 'step' &&
        rival.kind === 'rival' &&
        hasOtherResults(rival) &&
        (comparisonWith(one, rival, best.name)?.interval?.high ?? 1) < 1,
    ),
  );
  if (faster.length > 0) {
    const names = listed([...new Set(faster.map(({ name }) => name))]);
    sentences.push(`Faster than ours, with other results: ${names}, in ${counted(faster.length, 'case')}.`);
  }
  return sentences;
}

function ofExact(leads: readonly Lead[]): string[] {
  const of = (verdict: Lead['verdict']) => leads.filter((lead) => lead.verdict === verdict);
  const [ahead, level, behind] = [of('ahead'), of('level'), of('behind')];
  const ratios = sortedRatios(leads);
  const sentences = [
    `Of times, ours is ahead of the fastest rival with the same results in ${ahead.length} of ${counted(leads.length, 'measurement')}` +
      `, level in ${level.length} and behind in ${behind.length}; that rival takes ${spanOf(ratios)} of ours, ` +
      `${shownTimes(ratios[Math.floor(ratios.length / 2)])} in the middle.`,
  ];
  if (behind.length > 0) sentences.push(`Behind: ${behind.map(named).join('; ')}.`);
  if (level.length > 0) sentences.push(`Level, with 1 in the interval: ${level.map(placeOf).join('; ')}.`);
  sentences.push(`The fastest rival is ${oneOf(leads)}.`);
  return sentences;
}

/** Bytes are counted, so that there is no interval and nothing is level but what is equal. */
function ofBytes(leads: readonly Lead[]): string[] {
  const exact = leads.filter(({ isExact }) => isExact);
  const sentences: string[] = [];
  if (exact.length > 0) {
    const larger = exact.filter(({ verdict }) => verdict !== 'ahead');
    sentences.push(
      `Of memory, ours is smaller than the smallest rival with the same results in ${exact.length - larger.length} of ${counted(exact.length, 'measurement')}; ` +
        `that rival, ${oneOf(exact)}, takes ${spanOf(sortedRatios(exact))} of our bytes.` +
        (larger.length > 0 ? ` Not smaller: ${larger.map(named).join('; ')}.` : ''),
    );
  }
  const smaller = leads.flatMap(({ one, best }) =>
    timedOf(one).filter(
      (rival) =>
        rival.kind === 'rival' &&
        hasOtherResults(rival) &&
        (comparisonWith(one, rival, best.name)?.median ?? 1) < 1,
    ),
  );
  if (smaller.length > 0) {
    const names = listed([...new Set(smaller.map(({ name }) => name))]);
    sentences.push(`Smaller than ours, with other results: ${names}, in ${counted(smaller.length, 'case')}.`);
  }
  return sentences;
}

function sortedRatios(leads: readonly Lead[]): number[] {
  return leads.map(({ ratio }) => ratio.median).sort((a, b) => a - b);
}

function spanOf(ratios: readonly number[]): string {
  const [low, high] = [ratios[0], ratios.at(-1)!].map(shownTimes);
  return low === high ? low : `${low} to ${high}`;
}

function oneOf(leads: readonly Lead[]): string {
  const names = [...new Set(leads.map(({ rival }) => rival.name))].sort();
  return `${names.length > 1 ? 'one of ' : ''}${listed(names)}`;
}

/** `build at constraints 1M and 10M; rules at …`. */
function placesBySuite(leads: readonly Lead[]): string {
  const groups = new Map<string, string[]>();
  for (const { one } of leads) {
    const key = axisOf(one);
    groups.set(key, [...(groups.get(key) ?? []), shownPlace(one.axis, one.at)]);
  }
  return [...groups].map(([key, places]) => `${key} ${listed(places)}`).join('; ');
}

function named(lead: Lead): string {
  return `${placeOf(lead)} (${lead.rival.name} takes ${shownComparison(lead.ratio)} of ours)`;
}

function placeOf({ one }: Lead): string {
  return `${axisOf(one)} ${shownPlace(one.axis, one.at)}`;
}

/** A name needs a colon before it, a number does not. */
function axisOf({ suite, axis, at }: CaseResult): string {
  return `${suite} at ${axisTitle(axis)}${typeof at === 'string' ? ':' : ''}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
