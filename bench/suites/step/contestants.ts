import { availableParallelism } from 'node:os';
import { EspalierError } from '../../../src/errors.js';
import { type Constraint, chooseKernel, type TrieArrays } from '../../../src/kernels/index.js';
import { arrayTrie, arrayTrieJs } from '../../baselines/array-trie.js';
import { denseMask } from '../../baselines/dense-mask.js';
import { hashBitmap } from '../../baselines/hash-bitmap.js';
import { nestedMap, nestedMapAllJs } from '../../baselines/nested-map.js';
import { best, js, nativeLevels, ourIdea, ourRival } from '../../baselines/ours.js';
import { postFilter } from '../../baselines/post-filter.js';
import type { Idea, Rival, Seats } from '../../baselines/rival.js';
import { ppvApproximate, ppvExact } from '../../baselines/sorted-sids.js';
import { staticCsr } from '../../baselines/static-csr.js';
import { logSumExpFloor, unconstrained } from '../../baselines/unconstrained.js';
import type { CaseContext } from '../../harness/types.js';
import { type Contestant, seat } from './contest.js';
import { countItems, decodeAlone } from './own-decodes.js';

/** Everybody else. */
export const rivalIdeas = [
  staticCsr,
  arrayTrie,
  arrayTrieJs,
  nestedMap,
  nestedMapAllJs,
  ppvExact,
  ppvApproximate,
  hashBitmap,
  denseMask,
  postFilter,
] as unknown as readonly Idea[];

/** Whose times all others are compared with: our best, and the floor. */
export const yardsticks = [best().name, 'log-sum-exp', 'log-sum-exp-2-threads'];

export interface Lineup {
  /** Tries of what each request may reach, one for each set. */
  tables: readonly TrieArrays[];
  seats: Seats;
  /** Also the best of ours, and the floor, on two threads. */
  withTwoThreads: boolean;
  /** Ideas that would build more are left out: they take too long. */
  mostBytes: number;
}

/** Floors, ours on every level, and all rivals. */
export async function everybody(
  { tables, seats, withTwoThreads, mostBytes }: Lineup,
  pool: readonly Float32Array[],
  { say, signal }: CaseContext,
): Promise<Contestant[]> {
  const ours: readonly Idea[] = [...nativeLevels(), js];
  const ideas = [logSumExpFloor(), unconstrained, ...ours, ...rivalIdeas];
  const contestants: Contestant[] = [];
  for (const idea of ideas) {
    signal.throwIfAborted();
    say(`building ${idea.name}`);
    const contestant = await seat(idea, tables, seats, mostBytes);
    if (contestant.rival) lookFurther(contestant, contestant.rival, tables, seats, pool);
    contestants.push(contestant);
  }
  if (withTwoThreads) contestants.push(...(await onTwoThreads(tables, seats)));
  contestants.push(await cuda(tables, seats));
  return contestants;
}

/** What approximate rivals come to when they follow their own winners to the end. */
function lookFurther(
  { name, extras }: Contestant,
  rival: Rival,
  tables: readonly TrieArrays[],
  { tableOf, beamWidth, vocabSize }: Seats,
  pool: readonly Float32Array[],
): void {
  if (name !== 'hash-bitmap' && name !== 'ppv-approximate') return;
  const decoded = decodeAlone(rival, tables[0].levelCount, beamWidth, (depth) => ({
    logits: pool[depth % pool.length],
    vocabSize,
  }));
  let [beams, items] = [0, 0];
  decoded.forEach(({ sids }, request) => {
    beams += sids.length;
    items += countItems(tables[tableOf[request]], sids);
  });
  if (name === 'hash-bitmap') {
    extras['beams that are no items'] = { value: beams === 0 ? 0 : 1 - items / beams, unit: 'share' };
  } else {
    extras['beams left'] = { value: beams / (beamWidth * tableOf.length), unit: 'share' };
  }
}

/** Our best and the floor on two threads; skipped where there is one core. */
export async function onTwoThreads(tables: readonly TrieArrays[], seats: Seats): Promise<Contestant[]> {
  const { name, kernel } = best(2);
  const ideas = [logSumExpFloor(2), ourIdea(name, kernel)];
  if (availableParallelism() > 1) return Promise.all(ideas.map((idea) => seat(idea, tables, seats)));
  return ideas.map(({ name, kind, agreement }) => ({
    name,
    kind,
    agreement,
    skipped: 'this machine has one core',
    extras: {},
  }));
}

/** Ours on a GPU, or why not. */
async function cuda(tables: readonly TrieArrays[], seats: Seats): Promise<Contestant> {
  try {
    const kernel = chooseKernel('cuda');
    return await seat(
      ourIdea('cuda', () => kernel),
      tables,
      seats,
    );
  } catch (thrown) {
    if (!(thrown instanceof EspalierError)) throw thrown;
    const skipped = thrown.message.replace(/^ESPALIER_KERNELS is cuda, but /, '');
    return { name: 'cuda', kind: 'ours', agreement: 'exact', skipped, extras: {} };
  }
}

/** Our best over one trie, with a set, exclusions, or both, for each request. */
export function overlay(
  name: string,
  constraints: readonly Constraint[],
  beamWidth: number,
  extras: Contestant['extras'],
): Contestant {
  const rival = ourRival(best().kernel(), constraints, { beamWidth });
  return { name, kind: 'ours', agreement: 'exact', rival, extras };
}

/** Rivals that cannot take part in a case at all. */
export function absent(reason: (idea: Idea) => string): Contestant[] {
  return rivalIdeas.map((idea) => ({
    name: idea.name,
    kind: idea.kind,
    agreement: idea.agreement,
    skipped: reason(idea),
    extras: {},
  }));
}
