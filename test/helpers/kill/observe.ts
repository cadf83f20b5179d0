import { expect } from 'vitest';
import type { ServerProcess } from '../../../examples/online-retail/server-process.js';
import { activeVersionOf, type SetRecord } from '../../../src/server/constraint-sets/set-record.js';
import { type Reply, send } from '../server.js';
import { currentItems, type Model, type PlainItem } from './model.js';
import { isAllowed } from './rules.js';

/** What the server says and answers, whole. */
export type Observation = Awaited<ReturnType<typeof observe>>;

export const CATALOG = '/v1/catalogs/small';
/** Items that are looked at one by one. */
const VIEWED = ['i0', 'i1', 'i2'];

/** Reads everything that a client can see of the catalog, its sets and the aliases. */
export async function observe(server: ServerProcess) {
  const read = async (path: string) => {
    const { status, headers, body } = await send(server, 'GET', path);
    expect(status, `${path}: ${JSON.stringify(body)}`).toBe(200);
    return { etag: headers.get('etag'), ...body };
  };
  const catalog = await read(CATALOG);
  const { versions } = await read(`${CATALOG}/versions`);
  const { constraintSets } = await read(`${CATALOG}/constraint-sets`);
  const sets: Record<string, Reply['body']> = {};
  for (const { name } of constraintSets)
    sets[name] = settled(await read(`${CATALOG}/constraint-sets/${name}`));
  const aliases = await read('/v1/aliases');
  const answers: Record<string, Reply['body']> = { '': await answer(server, {}) };
  const inForce = Object.keys(sets).filter((name) => sets[name].version !== null);
  for (const set of [...inForce, ...aliases.aliases.map(({ alias }: { alias: string }) => alias)]) {
    answers[set] = await answer(server, { set });
  }
  const views: Record<string, Reply['body']> = {};
  for (const id of VIEWED) views[id] = (await send(server, 'GET', `${CATALOG}/items/${id}`)).body;
  return { catalog, versions, sets, aliases, answers, views };
}

async function answer(server: ServerProcess, constraint: object) {
  const request = { catalog: 'small', history: [], k: 500, beamWidth: 500, attributes: ['price', 'colour'] };
  const { status, body } = await send(server, 'POST', '/v1/recommend', { ...request, constraint });
  expect(status, JSON.stringify(body)).toBe(200);
  const { timings: _, ...rest } = body;
  return rest;
}

/** A set that refreshes itself is evaluated again by itself; nothing else of it may move. */
function settled(set: Reply['body']): Reply['body'] {
  return set.refreshSeconds === undefined ? set : { ...set, evaluatedAt: 'now and then' };
}

/** What of an observation the model knows. */
export function projectionOf({ catalog, versions, sets, aliases, answers, views }: Observation) {
  const numbers = (list: { version: number }[]) => list.map(({ version }) => version);
  return {
    catalog: { active: catalog.activeVersion, items: catalog.items, earlier: numbers(catalog.earlier) },
    versions: versions.map(({ version, items, active }: Reply['body']) => ({ version, items, active })),
    sets: mapValues(sets, ({ version, items, earlier, versions: all }) => ({
      version,
      items,
      earlier,
      versions: all.map(({ version: number, kind, rule, params, count, refreshSeconds }: Reply['body']) =>
        JSON.stringify([number, kind, rule, params, count, refreshSeconds]),
      ),
    })),
    aliases: Object.fromEntries(
      aliases.aliases.map(({ alias, constraintSet }: Reply['body']) => [alias, constraintSet]),
    ),
    answers: mapValues(answers, ({ items, versions: of }) => ({
      catalog: of.catalog,
      set: of.constraintSet,
      items: items.map(({ id, sid, attributes }: Reply['body']) => line({ id, sid, ...attributes })).sort(),
    })),
    views: mapValues(views, (view) =>
      view.error !== undefined
        ? view.error.code
        : {
            removed: view.removed,
            item: line({ id: view.id, sid: view.sid, ...view.attributes }),
            sets: Object.fromEntries(view.sets.map(({ name, allowed }: Reply['body']) => [name, allowed])),
          },
    ),
  };
}

/** What the model says that the server says and answers. */
export function expectationOf(state: Model): ReturnType<typeof projectionOf> {
  const { active, earlier } = state.catalog;
  const all = currentItems(state);
  const shown = all.filter(({ isRemoved }) => !isRemoved);
  const inForce = [...state.sets.values()].filter((set) => set.active !== null);
  const answerOf = (set?: SetRecord) => ({
    catalog: active!.version,
    set: set?.active ?? undefined,
    items: shown
      .filter((item) => set === undefined || isAllowed(state, set, item))
      .map(line)
      .sort(),
  });
  const answers = { '': answerOf(), ...Object.fromEntries(inForce.map((set) => [set.name, answerOf(set)])) };
  for (const [alias, set] of state.aliases)
    Object.assign(answers, { [alias]: answerOf(state.sets.get(set)!) });
  return {
    catalog: {
      active: active!.version,
      items: state.versions.find(({ version }) => version === active!.version)!.items.length,
      earlier: earlier.map(({ version }) => version),
    },
    versions: state.versions.map(({ version, items }) => ({
      version,
      items: items.length,
      active: version === active!.version,
    })),
    sets: Object.fromEntries([...state.sets.values()].map((set) => [set.name, setOf(state, set, all)])),
    aliases: Object.fromEntries(state.aliases),
    answers,
    views: Object.fromEntries(VIEWED.map((id) => [id, viewOf(state, all, inForce, id)])),
  };
}

/** A set counts what its truth allows, removed items among them. */
function setOf(state: Model, set: SetRecord, all: readonly PlainItem[]) {
  return {
    version: set.active,
    items: set.active === null ? null : all.filter((item) => isAllowed(state, set, item)).length,
    earlier: set.earlier,
    versions: set.versions.map(({ version, truth, refresh }) =>
      truth.kind === 'rule'
        ? JSON.stringify([version, truth.kind, truth.rule, truth.params, undefined, refresh?.refreshSeconds])
        : JSON.stringify([version, truth.kind, undefined, undefined, truth.count, undefined]),
    ),
  };
}

function viewOf(
  state: Model,
  all: ReturnType<typeof currentItems>,
  inForce: readonly SetRecord[],
  id: string,
) {
  const item = all.find((one) => one.id === id);
  if (item === undefined) return 'ESP_ITEM_NOT_FOUND';
  const verdict = (set: SetRecord) => !item.isRemoved && isAllowed(state, set, item);
  return {
    removed: item.isRemoved,
    item: line(item),
    sets: Object.fromEntries(inForce.map((set) => [activeVersionOf(set) && set.name, verdict(set)])),
  };
}

function line({ id, sid, price, colour }: PlainItem): string {
  return JSON.stringify([id, sid, price ?? null, colour ?? null]);
}

function mapValues<Value, Result>(
  values: Record<string, Value>,
  map: (value: Value) => Result,
): Record<string, Result> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]));
}
