import { seededRandom } from '../../../src/cli/bench/random.js';
import { allBits, type Constraint, setBit, wordsFor } from '../../../src/kernels/index.js';
import { constraintSetFromLeaves, prepareExclusions, setByteLength } from '../../../src/static-trie/index.js';
import { best } from '../../baselines/ours.js';
import type { Seats } from '../../baselines/rival.js';
import { logSumExpFloor, unconstrained } from '../../baselines/unconstrained.js';
import type { CaseContext, CaseResult, RivalResult } from '../../harness/types.js';
import { type Catalog, dedicatedTrie } from './catalogs.js';
import { type Contestant, runContest, seat } from './contest.js';
import { absent, everybody, onTwoThreads, overlay, yardsticks } from './contestants.js';
import { logitPool } from './logits.js';
import { Neighbours } from './neighbours.js';
import { catalogOf, type StepCase } from './plan.js';
import { measureShelf } from './shelf.js';
import { mixedSelectivity } from './sizes.js';

/** What the cases of one catalog have in common. */
interface Scene {
  catalog: Catalog;
  random: () => number;
  seats: Seats;
  pool: readonly Float32Array[];
  /** All requests over the whole catalog. */
  all: readonly Constraint[];
}

async function openScene({ point, catalogs, seed }: StepCase, { say }: CaseContext): Promise<Scene> {
  say('building the catalog');
  const catalog = await catalogs.get(catalogOf({ point, seed }));
  const random = seededRandom(seed);
  const { batch, beams, vocabulary } = point;
  const seats = { tableOf: new Array<number>(batch).fill(0), beamWidth: beams, vocabSize: vocabulary };
  const pool = logitPool(batch * beams * vocabulary, random);
  const all = new Array<Constraint>(batch).fill({ trie: catalog.trie, live: null, dead: null });
  return { catalog, random, seats, pool, all };
}

function resultOf(
  { axis, at, point, seed }: StepCase,
  { catalog }: Scene,
  rivals: RivalResult[],
  more: Record<string, number | string> = {},
): CaseResult {
  const parameters = { ...point, leaves: catalog.trie.leafCount, seed, ...more };
  return { suite: 'step', axis, at, parameters, rivals };
}

/** Everybody over the whole catalog. The point where axes meet is measured once. */
export async function runStandard(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const key = JSON.stringify([one.point, one.seed, context.options.size]);
  const before = one.measured.get(key);
  if (before !== undefined) return { ...before, axis: one.axis, at: one.at };
  const measured = await measureStandard(one, context);
  one.measured.set(key, measured);
  return measured;
}

async function measureStandard(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const scene = await openScene(one, context);
  const { catalog, seats, pool, all } = scene;
  const { withTwoThreads, mostBytes } = one;
  const lineup = { tables: [catalog.trie], seats, withTwoThreads, mostBytes };
  const contestants = await everybody(lineup, pool, context);
  if (one.axis === 'point') await fillShelf(contestants, scene, catalog.trie);
  const decoding = { constraints: all, ...seats };
  return resultOf(one, scene, await runContest({ decoding, pool, contestants, yardsticks }, context));
}

/** A part of the catalog: everybody over a trie of that part's own, and ours also with a set over the whole trie. */
export async function runSelectivity(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const scene = await openScene(one, context);
  const { catalog, random, seats, pool, all } = scene;
  const leafBits = randomLeaves(catalog.trie.leafCount, Number(one.at), random);
  context.say('building a trie of the set');
  const isAll = Number(one.at) >= 1;
  const table = isAll ? catalog.trie : await dedicatedTrie(catalog.trie, leafBits);
  const contestants = await everybody(
    { tables: [table], seats, withTwoThreads: false, mostBytes: one.mostBytes },
    pool,
    context,
  );
  await fillShelf(contestants, scene, table);
  const set = constraintSetFromLeaves(catalog.trie, catalog.leafItems, leafBits);
  const constraint = { trie: catalog.trie, live: set.live, dead: null };
  contestants.push(
    overlay(
      `${best().name}-overlay`,
      all.map(() => constraint),
      seats.beamWidth,
      {
        bytes: { value: setByteLength(set), unit: 'bytes' },
      },
    ),
  );
  const decoding = {
    constraints: all.map(() => ({ trie: table, live: null, dead: null })),
    ...seats,
  };
  const rivals = await runContest({ decoding, pool, contestants, yardsticks }, context);
  return resultOf(one, scene, rivals, { selectivity: Number(one.at), allowed: table.leafCount });
}

/** Requests of one batch under so many sets, beside the same batch under one of them. */
export async function runMixedSets(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const scene = await openScene(one, context);
  const { catalog, random, seats, pool, all } = scene;
  const count = Number(one.at);
  context.say(`deriving ${count} sets`);
  const sets = Array.from({ length: count }, (): Constraint => {
    const leafBits = randomLeaves(catalog.trie.leafCount, mixedSelectivity, random);
    const { live } = constraintSetFromLeaves(catalog.trie, catalog.leafItems, leafBits);
    return { trie: catalog.trie, live, dead: null };
  });
  const mixed = all.map((_, request) => sets[request % count]);
  const same = all.map(() => sets[0]);
  const { name } = best();
  const contestants: Contestant[] = [
    await seat(logSumExpFloor(), [catalog.trie], seats),
    overlay(`${name}-overlay`, mixed, seats.beamWidth, {}),
    {
      ...overlay(`${name}-overlay-one-set`, same, seats.beamWidth, {}),
      decoding: { constraints: same, ...seats },
    },
    ...absent(
      () => `it has no sets over one catalog: it would be built ${count} times, and held ${count} times`,
    ),
  ];
  const rivals = await runContest(
    {
      decoding: { constraints: mixed, ...seats },
      pool,
      contestants,
      yardsticks: [`${name}-overlay-one-set`, 'log-sum-exp'],
    },
    context,
  );
  return resultOf(one, scene, rivals, { sets: count, selectivity: mixedSelectivity });
}

/** Requests with so many excluded items each, beside the same without. */
export async function runExclusions(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const scene = await openScene(one, context);
  const { catalog, random, seats, pool, all } = scene;
  const { leafItems, trie } = catalog;
  const constraints = all.map((): Constraint => {
    const items = Array.from({ length: Number(one.at) }, () => Math.floor(random() * leafItems.itemCount));
    return { trie, live: null, dead: prepareExclusions(leafItems, null, items).dead };
  });
  const { name } = best();
  const contestants: Contestant[] = [
    await seat(logSumExpFloor(), [trie], seats),
    overlay(`${name}-exclusions`, constraints, seats.beamWidth, {}),
    { ...overlay(name, all, seats.beamWidth, {}), decoding: { constraints: all, ...seats } },
    ...absent(() => 'it cannot exclude items from one request without being built anew'),
  ];
  const decoding = { constraints, ...seats };
  const rivals = await runContest({ decoding, pool, contestants, yardsticks }, context);
  return resultOf(one, scene, rivals, { exclusions: Number(one.at) });
}

/** Two threads beside one while other processes keep so many cores busy: a thread that waits must not hold a step up. */
export async function runNeighbours(one: StepCase, context: CaseContext): Promise<CaseResult> {
  const scene = await openScene(one, context);
  const { catalog, seats, pool, all } = scene;
  const { name } = best();
  const contestants: Contestant[] = [
    await seat(logSumExpFloor(), [catalog.trie], seats),
    overlay(name, all, seats.beamWidth, {}),
    ...(await onTwoThreads([catalog.trie], seats)),
  ];
  const neighbours = await Neighbours.start(Number(one.at));
  try {
    const decoding = { constraints: all, ...seats };
    const rivals = await runContest({ decoding, pool, contestants, yardsticks }, context);
    return resultOf(one, scene, rivals, { neighbours: Number(one.at) });
  } finally {
    await neighbours.stop();
  }
}

/** How full the shelf is after post-filtering, and how full it could be. */
async function fillShelf(
  contestants: readonly Contestant[],
  { catalog, seats, pool }: Scene,
  allowed: Catalog['trie'],
): Promise<void> {
  const filter = contestants.find(({ name, rival }) => name === 'post-filter' && rival !== undefined);
  const free = await seat(unconstrained, [catalog.trie], { ...seats, tableOf: [0] });
  if (filter === undefined || free.rival === undefined) return;
  const { beamWidth, vocabSize } = seats;
  const shelf = measureShelf(free.rival, catalog.trie, allowed, { beamWidth, vocabSize, logits: pool[0] });
  filter.extras['places of 10 filled'] = { value: shelf.filled, unit: 'share' };
  filter.extras['free beams that are items'] = { value: shelf.items, unit: 'share' };
}

function randomLeaves(leafCount: number, fraction: number, random: () => number): Uint32Array {
  if (fraction >= 1) return allBits(leafCount);
  const bits = new Uint32Array(wordsFor(leafCount));
  if (fraction >= 0.05) {
    for (let leaf = 0; leaf < leafCount; leaf++) if (random() < fraction) setBit(bits, leaf);
  } else {
    const wanted = Math.max(1, Math.round(leafCount * fraction));
    for (let drawn = 0; drawn < wanted; drawn++) setBit(bits, Math.floor(random() * leafCount));
  }
  return bits;
}
