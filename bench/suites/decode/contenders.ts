import type { Model } from '../../../src/decoder/model.js';
import { chooseKernel, type TrieArrays } from '../../../src/kernels/index.js';
import { arrayTrie } from '../../baselines/array-trie.js';
import { nestedMap } from '../../baselines/nested-map.js';
import { best, js, nativeLevels } from '../../baselines/ours.js';
import { postFilter } from '../../baselines/post-filter.js';
import type { Idea } from '../../baselines/rival.js';
import { ppvExact } from '../../baselines/sorted-sids.js';
import { staticCsr } from '../../baselines/static-csr.js';
import { unconstrained } from '../../baselines/unconstrained.js';
import type { Contender, Verdict } from '../../harness/contest.js';
import { seat } from '../step/contest.js';
import { type Decoded, type DecodeRequest, type Decoder, ourDecoder, rivalDecoder } from './decoder.js';
import { differenceOf, type Expected, hashOf } from './reference.js';
import type { Restriction, Scene } from './scene.js';

export const yardsticks = [best().name, unconstrained.name];

/** Ours on every kernel, and all rivals that decode to the end with nothing but allowed items. */
const everybody = [...nativeLevels(), js, staticCsr, arrayTrie, nestedMap, ppvExact] as unknown as Idea[];
const few = [best().name, js.name, nestedMap.name];
const SHELF = 10;

export interface CaseOptions {
  scene: Scene;
  model: Model;
  restriction: Restriction;
  beamWidth: number;
  /** Whether every rival takes part, or the few that say most. */
  withEverybody: boolean;
  /** In turns. */
  requests: readonly DecodeRequest[];
  /** What is right: for requests whose choices are clear, under the restriction, and with none at all. */
  checks: readonly Check[];
  /** How many requests the shelf is looked at for. */
  shelves: number;
}

export interface Check {
  request: DecodeRequest;
  allowed: Expected;
  free: Expected;
}

/** The floor, ours, rivals. */
export async function contendersOf(options: CaseOptions): Promise<Contender[]> {
  const { scene, model, restriction, withEverybody } = options;
  const ideas = everybody.filter(({ name }) => withEverybody || few.includes(name));
  const contenders = [await floorOf(options)];
  const table = scene.dedicatedTrie(restriction, model);
  for (const idea of ideas) {
    if (idea.kind === 'ours') {
      const kernel = chooseKernel(idea.name === 'js' ? 'js' : idea.name.replace('native-', ''));
      const constraintOf = scene.constraintFor(restriction, kernel);
      const decode = ourDecoder(model, kernel, options.beamWidth, constraintOf);
      contenders.push(exact(idea, decode, options, ({ allowed }) => allowed));
    } else {
      const decode = await seated(idea, table, options);
      contenders.push(exact(idea, decode, options, ({ allowed }) => allowed));
    }
  }
  const filter = await seated(postFilter as unknown as Idea, table, options);
  const allowedOf = ({ request, free }: Check): Decoded => {
    const allowed = scene.allowed(restriction, model, request);
    const kept = free.sids.flatMap((sid, beam) => (allowed.has(sid) ? [beam] : []));
    return {
      sids: kept.map((beam) => free.sids[beam]),
      scores: Float32Array.from(kept, (beam) => free.scores[beam]),
    };
  };
  const filtered = exact(postFilter, filter, options, allowedOf);
  contenders.push({
    ...filtered,
    isApproximate: true,
    verify: () => withShelf(filtered, filter as Decoder, options),
  });
  return contenders;
}

/** Unconstrained decoding of the same model, and how many of its beams are no items. */
async function floorOf(options: CaseOptions): Promise<Contender> {
  const { scene, model, requests, shelves } = options;
  const everything = { excludesHistory: false };
  const decode = await seated(unconstrained, scene.dedicatedTrie(everything, model), options, everything);
  const floor = exact(unconstrained, decode, options, ({ free }) => free);
  return {
    ...floor,
    isApproximate: true,
    async verify() {
      const verdict = await floor.verify();
      if (verdict.fault !== undefined || typeof decode === 'string') return verdict;
      let [beams, items] = [0, 0];
      for (const request of requests.slice(0, shelves)) {
        const { sids } = await decode(request);
        const allowed = scene.allowed(everything, model, request);
        beams += sids.length;
        items += sids.filter((sid) => allowed.has(sid)).length;
      }
      const share = { value: 1 - items / beams, unit: 'share' as const };
      return { ...verdict, extras: { 'beams that are no items': share } };
    },
  };
}

/** A rival's decoder, or why there is none. */
async function seated(
  idea: Idea,
  table: TrieArrays,
  { model, beamWidth, restriction }: CaseOptions,
  under: Restriction = restriction,
): Promise<Decoder | string> {
  if (under.excludesHistory)
    return 'it would be built anew for each request: every history is another set of items';
  const seats = { tableOf: [0], beamWidth, vocabSize: model.vocabSize };
  const { rival, skipped } = await seat(idea, [table], seats);
  return rival === undefined ? (skipped ?? 'it does not run here') : rivalDecoder(model, rival, beamWidth);
}

/** Right where it comes to the same as the reference. */
export function exact(
  { name, kind }: Pick<Idea, 'name' | 'kind'>,
  decode: Decoder | string,
  { checks, requests }: Pick<CaseOptions, 'checks' | 'requests'>,
  expectedOf: (check: Check) => Decoded,
): Contender {
  if (typeof decode === 'string') {
    return { name, kind, skipped: decode, verify: () => ({}), run: () => {} };
  }
  return {
    name,
    kind,
    async verify(): Promise<Verdict> {
      const found: Decoded[] = [];
      for (const [index, check] of checks.entries()) {
        const decoded = await decode(check.request);
        const fault = differenceOf(decoded, expectedOf(check));
        if (fault !== undefined) return { fault: `request ${index}, ${fault}` };
        found.push(decoded);
      }
      return { hash: hashOf(found) };
    },
    run: (turn) => decode(requests[(turn + requests.length) % requests.length]),
  };
}

async function withShelf(
  contender: Contender,
  decode: Decoder,
  { requests, shelves }: CaseOptions,
): Promise<Verdict> {
  const verdict = await contender.verify();
  if (verdict.fault !== undefined) return verdict;
  let filled = 0;
  for (const request of requests.slice(0, shelves)) {
    filled += Math.min(SHELF, (await decode(request)).sids.length);
  }
  const share = { value: filled / (SHELF * Math.min(shelves, requests.length)), unit: 'share' as const };
  return { ...verdict, extras: { 'places of 10 filled': share } };
}
