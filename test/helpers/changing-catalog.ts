import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SetSnapshot } from '../../src/decoder/activation.js';
import {
  type AttributeValue,
  type CatalogChange,
  CatalogSnapshot,
  type CatalogVersion,
  CatalogVersionBuilder,
  openCatalogFile,
  type SetTruth,
  writeCatalogFile,
} from '../../src/static-trie/index.js';
import { listTruth } from './list-truth.js';
import type { Random } from './random.js';
import { randomItems, smallSchema } from './small-catalog.js';

/** What `now` stands for in the rules below. */
export const NOW_MS = Date.UTC(2011, 2, 1);
const TIMES = [Date.UTC(2011, 0, 1), Date.UTC(2011, 5, 1)];

/** Sets that read the attributes in all ways; `listed` reads none. */
export function truthsOf(listed: readonly string[]): Record<string, SetTruth> {
  return {
    cheap: { kind: 'rule', rule: 'price < params.max', params: { max: 3 } },
    art: { kind: 'rule', rule: 'genre == "art" || !(price > 4.0)', params: {} },
    tagged: { kind: 'rule', rule: '"x" in tags && has(item.price)', params: {} },
    since: { kind: 'rule', rule: 'since < now', params: {} },
    listed: listTruth(listed),
  };
}

export interface PlainState {
  id: string;
  sid: number[];
  values: Record<string, AttributeValue | null | undefined>;
  isRemoved: boolean;
}

export function randomStates(random: Random, count: number): PlainState[] {
  return randomItems(random, count).map(({ id, sid, since, ...values }) => ({
    id,
    sid,
    values: { ...values, since: since && Date.parse(since) },
    isRemoved: false,
  }));
}

/** Removes and updates some items; now and then one that was removed before, or that nobody has. */
export function randomChange(
  random: Random,
  ids: readonly string[],
  share: number,
): Omit<CatalogChange, 'seq'> {
  const some = () => ids.filter(() => random.chance(share));
  const values = {
    genre: () => random.pick(['art', 'book', null]),
    tags: () => random.pick([['x'], ['y', 'z'], [], null]),
    price: () => random.pick([1, 2.5, 9, 20, null]),
    since: () => random.pick([...TIMES, null]),
  };
  const names = Object.keys(values) as (keyof typeof values)[];
  const update = some().map((id) => ({
    id,
    attributes: Object.fromEntries(
      names.filter(() => random.chance(0.5)).map((name) => [name, values[name]()]),
    ),
  }));
  return {
    at: '2026-01-01T00:00:00.000Z',
    ...(random.chance(0.6) && { remove: [...some(), 'nobody'] }),
    ...(random.chance(0.8) && { update }),
  };
}

/** The items after a change; what happens to a removed item happens to nobody. */
export function applyPlainly(
  states: readonly PlainState[],
  { remove = [], update = [] }: Pick<CatalogChange, 'remove' | 'update'>,
): PlainState[] {
  return states.map((state) => {
    if (state.isRemoved) return state;
    if (remove.includes(state.id)) return { ...state, isRemoved: true };
    const given = update.filter(({ id }) => id === state.id).map(({ attributes }) => attributes);
    return { ...state, values: Object.assign({}, state.values, ...given) };
  });
}

/** A catalog version of the items, removed ones as well. */
export function versionOf(states: readonly PlainState[]): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(smallSchema, [256, 256, 256]);
  for (const { id, sid, values } of states) {
    builder.add(
      { id, sid, attributes: Object.keys(smallSchema).map((name) => values[name] ?? undefined) },
      1,
    );
  }
  return builder.build();
}

/** The same in a file. */
export async function writeStates(
  states: readonly PlainState[],
): Promise<{ folder: string; path: string; version: CatalogVersion }> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-changing-'));
  const path = join(folder, 'catalog.bin');
  writeCatalogFile(path, await versionOf(states));
  return { folder, path, version: openCatalogFile(path) };
}

/** A set evaluated over a version that has all values in it. */
export function evaluated(
  version: CatalogVersion,
  name: string,
  truth: SetTruth,
  changesUpTo: number,
): SetSnapshot {
  const { rule, set } = CatalogSnapshot.of(version, smallSchema).derive(truth, NOW_MS);
  return { name, catalogVersion: 1, version: 1, rule, changesUpTo, set, expiresAtMs: null };
}
