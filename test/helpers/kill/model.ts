import type { CatalogRecord } from '../../../src/server/catalogs/catalog-store.js';
import {
  outdatedVersions,
  rolledBack,
  withActive,
  withoutVersions,
} from '../../../src/server/catalogs/serving-pairs.js';
import {
  newSet,
  prunedSet,
  rolledBackSet,
  type SetRecord,
  type SetTruth,
  type SetVersion,
  withActiveVersion,
  withVersion,
} from '../../../src/server/constraint-sets/set-record.js';

/** What the client of the kill test knows the server to have: one catalog, its sets and the aliases, without times. */
export interface Model {
  /** The small changes, in their order; a version has those that came after its `changesAfter`th. */
  changes: readonly SmallChange[];
  catalog: CatalogRecord;
  versions: readonly ModelVersion[];
  sets: ReadonlyMap<string, SetRecord>;
  /** Ids or SIDs of the listed versions, by `<set>.<version>`. */
  lists: ReadonlyMap<string, readonly string[]>;
  aliases: ReadonlyMap<string, string>;
}

export interface PlainItem {
  id: string;
  sid: number[];
  price?: number | null;
  colour?: string | null;
}

export interface SmallChange {
  remove: readonly string[];
  update: readonly Partial<PlainItem>[];
}

export interface ModelVersion {
  version: number;
  items: readonly PlainItem[];
  changesAfter: number;
}

/** What `--keep-versions` is. */
export const KEEP_VERSIONS = 3;

const model = { name: 'table', version: 1 };

export function emptyModel(): Model {
  const catalog = { name: 'small', model, codebookSizes: [2, 3], attributes: {}, active: null, earlier: [] };
  return {
    changes: [],
    catalog: { ...catalog, createdAt: '' },
    versions: [],
    sets: new Map(),
    lists: new Map(),
    aliases: new Map(),
  };
}

export function withCatalogVersion(state: Model, version: ModelVersion): Model {
  return { ...state, versions: [...state.versions, version] };
}

/** Each state that a kill may leave: the old versions go after the switch, one by one. The first has none of them. */
export function withActiveCatalog(state: Model, version: number): Model[] {
  return retained({ ...state, catalog: withActive(state.catalog, pairOf(version)) });
}

export function withCatalogRolledBack(state: Model): Model[] {
  const { record, pair } = rolledBack(state.catalog, undefined);
  return retained({ ...state, catalog: { ...record, active: { activatedAt: '', ...pair } } });
}

function retained(state: Model): Model[] {
  const numbers = state.versions.map(({ version }) => version);
  const outdated = outdatedVersions(state.catalog, numbers, KEEP_VERSIONS);
  if (outdated.length === 0) return [state];
  const forgotten = { ...state, catalog: withoutVersions(state.catalog, outdated) };
  const withoutFirst = (count: number): Model => ({
    ...forgotten,
    versions: state.versions.filter(({ version }) => !outdated.slice(0, count).includes(version)),
  });
  return [...outdated.map((_, index) => withoutFirst(outdated.length - index)), withoutFirst(0), state];
}

export function withChange(state: Model, change: SmallChange): Model {
  return { ...state, changes: [...state.changes, change] };
}

export function withSetVersion(
  state: Model,
  name: string,
  version: number,
  truth: SetTruth,
  { list, refreshSeconds }: { list?: readonly string[]; refreshSeconds?: number } = {},
): Model {
  const refresh =
    refreshSeconds === undefined
      ? null
      : { refreshSeconds, maxAgeSeconds: refreshSeconds * 10_000, whenStale: 'refuse' as const };
  const added: SetVersion = { version, truth, refresh, hash: '', createdAt: '', createdBy: null };
  const lists = new Map(state.lists);
  if (list !== undefined) lists.set(`${name}.${version}`, list);
  const record = withVersion(state.sets.get(name) ?? newSet(name, ''), added);
  // A list is kept as a version first, and put in force then; a rule is both at once.
  return withSet({ ...state, lists }, list === undefined ? record : prunedSet(record, KEEP_VERSIONS).record);
}

export function withActiveSet(state: Model, name: string, version: number): Model {
  const record = withActiveVersion(state.sets.get(name)!, version, '');
  return withSet(state, prunedSet(record, KEEP_VERSIONS).record);
}

export function withSetRolledBack(state: Model, name: string): Model {
  const record = rolledBackSet(state.sets.get(name)!, undefined, '');
  return withSet(state, prunedSet(record, KEEP_VERSIONS).record);
}

export function withoutSet(state: Model, name: string): Model {
  const sets = new Map(state.sets);
  sets.delete(name);
  return { ...state, sets };
}

export function withAliases(state: Model, names: readonly string[], set: string): Model {
  const aliases = new Map(state.aliases);
  for (const name of names) aliases.set(name, set);
  return { ...state, aliases };
}

function withSet(state: Model, record: SetRecord): Model {
  return { ...state, sets: new Map(state.sets).set(record.name, record) };
}

function pairOf(version: number) {
  return { version, model, activatedAt: '' };
}

/** The items of the active version as the small changes leave them; `isRemoved` where they are in its file alone. */
export function currentItems(state: Model): (PlainItem & { isRemoved: boolean })[] {
  const active = state.versions.find(({ version }) => version === state.catalog.active?.version)!;
  const items = new Map(active.items.map((item) => [item.id, { ...item, isRemoved: false }]));
  for (const { remove, update } of state.changes.slice(active.changesAfter)) {
    for (const id of remove) {
      const item = items.get(id);
      if (item !== undefined) items.set(id, { ...item, isRemoved: true });
    }
    for (const { id, ...values } of update) {
      const item = items.get(id!);
      if (item !== undefined && !item.isRemoved) items.set(id!, { ...item, ...values });
    }
  }
  return [...items.values()];
}
