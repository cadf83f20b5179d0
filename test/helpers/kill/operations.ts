import type { Random } from '../random.js';
import {
  currentItems,
  type Model,
  type PlainItem,
  type SmallChange,
  withActiveCatalog,
  withActiveSet,
  withAliases,
  withCatalogRolledBack,
  withCatalogVersion,
  withChange,
  withoutSet,
  withSetRolledBack,
  withSetVersion,
} from './model.js';
import { CATALOG } from './observe.js';
import { COLOURS, PRICES, randomRule } from './rules.js';

/** Every kind of change. */
export const KINDS = [
  'upload',
  'upload and activate',
  'patch',
  'patch with new items',
  'upload of a list',
  'rule',
  'rule that refreshes itself',
  'activation of a set',
  'rollback of a set',
  'deletion of a set',
  'switch of aliases',
  'activation of a catalog version',
  'rollback of a catalog',
] as const;

/** One request that changes something, and what may be there afterwards. */
export interface Operation {
  kind: (typeof KINDS)[number];
  method: string;
  path: string;
  body?: unknown;
  contentType?: string;
  /** What is in force when the request is answered. @param version as the answer names it */
  applied(state: Model, version: number): Model[];
  /** Whether small changes may come before the job has ended, and what it comes to is certain all the same. */
  takesPatches?: boolean;
  /** What the job comes to that it is answered with, where it is. */
  finished?(state: Model, version: number): Model[];
}

const SETS = ['a', 'b', 'c', 'd'];
const ALIASES = ['left', 'right'];
/** So many ids that some are in one upload and not in another. */
const ID_COUNT = 300;

/** Any change that is possible now. */
export function randomOperation(random: Random, state: Model): Operation {
  for (;;) {
    const operation = random.pick(makers)(random, state);
    if (operation !== null) return operation;
  }
}

/** A small change without new items, which goes together with an upload that is being built. */
export function patchItems(random: Random): Operation {
  const change = randomChange(random);
  const applied = (state: Model) => [withChange(state, change)];
  return { kind: 'patch', method: 'PATCH', path: `${CATALOG}/items`, body: bodyOf(change), applied };
}

export function uploadItems(random: Random, state: Model, activate: boolean): Operation {
  const items = randomItems(random);
  const changesAfter = state.changes.length;
  return {
    kind: activate ? 'upload and activate' : 'upload',
    method: 'POST',
    path: `${CATALOG}/versions?activate=${activate}`,
    body: items.map((item) => JSON.stringify(item)).join('\n'),
    contentType: 'application/x-ndjson',
    takesPatches: true,
    applied: (before) => [before],
    finished(before, version) {
      const built = withCatalogVersion(before, { version, items, changesAfter });
      return activate ? withActiveCatalog(built, version) : [built];
    },
  };
}

type Maker = (random: Random, state: Model) => Operation | null;

const makers: Maker[] = [
  (random, state) => uploadItems(random, state, true),
  (random, state) => uploadItems(random, state, true),
  (random, state) => uploadItems(random, state, false),
  (random) => patchItems(random),
  (random) => patchItems(random),
  (random) => patchItems(random),
  addItems,
  addItems,
  uploadList,
  uploadList,
  (random) => putRule(random, undefined),
  (random) => putRule(random, undefined),
  (random) => putRule(random, 1),
  activateSet,
  rollBackSet,
  deleteSet,
  switchAliases,
  switchAliases,
  activateCatalog,
  rollBackCatalog,
];

function addItems(random: Random, state: Model): Operation {
  const there = currentItems(state).filter(({ isRemoved }) => !isRemoved);
  const isThere = new Set(there.map(({ id }) => id));
  const replaced = there.filter(() => random.chance(0.05)).map(({ id }) => id);
  const fresh = randomItems(random).filter(({ id }) => !isThere.has(id));
  const items = [...fresh.slice(0, 5), ...replaced.map((id) => randomItem(random, id))];
  if (items.length === 0) items.push(randomItem(random, `i${ID_COUNT + state.changes.length}`));
  const change = { remove: replaced, update: [] };
  const hasChange = replaced.length > 0;
  const applied = (before: Model) => [hasChange ? withChange(before, change) : before];
  return {
    kind: 'patch with new items',
    method: 'PATCH',
    path: `${CATALOG}/items`,
    body: { ...(hasChange && { remove: replaced }), add: items },
    applied,
    finished(before, version) {
      const kept = currentItems(before).filter(({ isRemoved }) => !isRemoved);
      const all = [...kept.map(({ isRemoved: _, ...item }) => item), ...items];
      const built = { version, items: all, changesAfter: before.changes.length };
      return withActiveCatalog(withCatalogVersion(before, built), version);
    },
  };
}

function uploadList(random: Random): Operation {
  const set = random.pick(SETS);
  const kind = random.pick(['items', 'sids'] as const);
  const activate = random.chance(0.8);
  const ids = Array.from({ length: 60 }, () => `i${random.below(ID_COUNT)}`);
  const sids = Array.from({ length: 3 }, () => String(randomSid(random)));
  const list = [...new Set(kind === 'items' ? ids : sids)];
  return {
    kind: 'upload of a list',
    method: 'POST',
    path: `${CATALOG}/constraint-sets/${set}/versions?activate=${activate}`,
    body: list.map((entry) => (kind === 'items' ? JSON.stringify(entry) : `[${entry}]`)).join('\n'),
    contentType: 'application/x-ndjson',
    applied: (before) => [before],
    finished(before, version) {
      const added = withSetVersion(before, set, version, { kind, count: list.length }, { list });
      return [activate ? withActiveSet(added, set, version) : added];
    },
  };
}

export function putRule(random: Random, refreshSeconds: number | undefined): Operation {
  const set = random.pick(SETS);
  const { rule, params } = randomRule(random);
  const refresh = refreshSeconds !== undefined && { refreshSeconds, maxAgeSeconds: refreshSeconds * 10_000 };
  return {
    kind: refreshSeconds === undefined ? 'rule' : 'rule that refreshes itself',
    method: 'PUT',
    path: `${CATALOG}/constraint-sets/${set}`,
    body: { rule, params, ...refresh },
    applied(before, version) {
      const options = refreshSeconds === undefined ? {} : { refreshSeconds };
      const added = withSetVersion(before, set, version, { kind: 'rule', rule, params }, options);
      return [withActiveSet(added, set, version)];
    },
  };
}

function activateSet(random: Random, state: Model): Operation | null {
  const sets = [...state.sets.values()].filter(({ versions }) => versions.length > 1);
  if (sets.length === 0) return null;
  const { name, versions } = random.pick(sets);
  const { version } = random.pick(versions);
  return {
    kind: 'activation of a set',
    method: 'POST',
    path: `${CATALOG}/constraint-sets/${name}/activate`,
    body: { version },
    applied: (before) => [withActiveSet(before, name, version)],
  };
}

function rollBackSet(random: Random, state: Model): Operation | null {
  const sets = [...state.sets.values()].filter(({ earlier }) => earlier.length > 0);
  if (sets.length === 0) return null;
  const { name } = random.pick(sets);
  return {
    kind: 'rollback of a set',
    method: 'POST',
    path: `${CATALOG}/constraint-sets/${name}/rollback`,
    applied: (before) => [withSetRolledBack(before, name)],
  };
}

function deleteSet(random: Random, state: Model): Operation | null {
  const aliased = [...state.aliases.values()];
  const sets = [...state.sets.keys()].filter((name) => !aliased.includes(name));
  if (sets.length === 0) return null;
  const name = random.pick(sets);
  const path = `${CATALOG}/constraint-sets/${name}`;
  return {
    kind: 'deletion of a set',
    method: 'DELETE',
    path,
    applied: (before) => [withoutSet(before, name)],
  };
}

/** Both aliases, always: a state in which they differ is half of a switch. */
function switchAliases(random: Random, state: Model): Operation | null {
  const sets = [...state.sets.values()].filter(({ active }) => active !== null);
  if (sets.length === 0) return null;
  const { name: constraintSet } = random.pick(sets);
  const actions = ALIASES.map((alias) => ({ set: { alias, catalog: 'small', constraintSet } }));
  return {
    kind: 'switch of aliases',
    method: 'POST',
    path: '/v1/aliases',
    body: { actions },
    applied: (before) => [withAliases(before, ALIASES, constraintSet)],
  };
}

function activateCatalog(random: Random, state: Model): Operation | null {
  const { version } = random.pick(state.versions);
  return {
    kind: 'activation of a catalog version',
    method: 'POST',
    path: `${CATALOG}/versions/${version}/activate`,
    applied: (before) => withActiveCatalog(before, version),
  };
}

function rollBackCatalog(_random: Random, state: Model): Operation | null {
  if (state.catalog.earlier.length === 0) return null;
  const path = `${CATALOG}/rollback`;
  return { kind: 'rollback of a catalog', method: 'POST', path, applied: withCatalogRolledBack };
}

function randomItems(random: Random): PlainItem[] {
  return Array.from({ length: ID_COUNT }, (_, index) => randomItem(random, `i${index}`)).filter(() =>
    random.chance(0.7),
  );
}

function randomItem(random: Random, id: string): PlainItem {
  const price = random.chance(0.9) && { price: random.pick(PRICES) };
  const colour = random.chance(0.9) && { colour: random.pick(COLOURS) };
  return { id, sid: randomSid(random), ...(price || {}), ...(colour || {}) };
}

function randomSid(random: Random): number[] {
  return [random.below(2), random.below(3)];
}

function randomChange(random: Random): SmallChange {
  const some = (count: number) =>
    Array.from({ length: count }, () => `i${random.below(random.chance(0.3) ? 3 : ID_COUNT)}`);
  const remove = random.chance(0.6) ? some(1 + random.below(3)) : [];
  const update = some(1 + random.below(5)).map((id) =>
    random.chance(0.5)
      ? { id, price: random.pick([...PRICES, null]) }
      : { id, colour: random.pick([...COLOURS, null]) },
  );
  return { remove, update: random.chance(0.8) || remove.length === 0 ? update : [] };
}

function bodyOf({ remove, update }: SmallChange) {
  return { ...(remove.length > 0 && { remove }), ...(update.length > 0 && { update }) };
}
