import { createHash } from 'node:crypto';
import { type Contender, runContest, type Verdict } from '../harness/contest.js';
import type {
  CaseContext,
  CaseResult,
  PlannedCase,
  RivalResult,
  RunOptions,
  Size,
  Suite,
} from '../harness/types.js';
import { type DrawnItems, drawItems, faultOfItem, priceRule, unpackAndParse } from './upload/drawn-items.js';
import { SidsServer } from './upload/sids-server.js';

const values = {
  items: { small: [300], quick: [1e5], full: [1e4, 1e5, 1e6] },
  change: ['rule', 'update', 'remove', 'activate'],
} as const;
/** Of the catalog that is changed: the largest that was uploaded. */
const changedItems: Record<Size, number> = { small: 300, quick: 1e5, full: 1e6 };
/** Rules in force while it is changed, all of which read what is updated. */
const rulesInForce: Record<Size, number> = { small: 2, quick: 30, full: 30 };
/** Uploads take as many turns as fit a time, by how long the one took that was checked. */
const uploadTurns: Record<Size, { budgetMs: number; least: number; most: number }> = {
  small: { budgetMs: 0, least: 1, most: 1 },
  quick: { budgetMs: 600, least: 1, most: 5 },
  full: { budgetMs: 6000, least: 2, most: 20 },
};
const changeTurns: Record<Size, number> = { small: 2, quick: 20, full: 200 };
/** An activation takes a hundred times what a change does. */
const activationTurns: Record<Size, number> = { small: 1, quick: 3, full: 10 };

/** A server, and what has been uploaded to it, for cases that follow each other. */
interface Scene {
  server: SidsServer;
  drawn: DrawnItems | undefined;
  /** Catalogs that have all items of `drawn`, untouched. */
  uploaded: Set<string>;
}
const memory: { scene?: Scene } = {};

export const upload: Suite = {
  name: 'upload',
  about:
    'What changes of state cost at a running server: uploads until they are active, rules, updates, removals, activations.',
  axes: Object.keys(values),
  plan,
  async close() {
    const { scene } = memory;
    delete memory.scene;
    await scene?.server.stop();
  },
};

function plan({ size, seed }: RunOptions): PlannedCase[] {
  const planned: PlannedCase[] = [];
  const add = (axis: string, at: number | string, count: number, run: Run) => {
    const one = { axis, at, count, seed };
    planned.push({
      axis,
      at,
      needsBytes: BASE_BYTES + count * BYTES_AN_ITEM,
      seconds: axis === 'items' ? 0.7 + count * SECONDS_AN_ITEM : changeSeconds[size],
      run: async (context) => run(one, await openScene(one, context), context),
    });
  };
  for (const count of values.items[size]) add('items', count, count, runUpload);
  // The order matters: a removed item is in no rule any more.
  for (const what of values.change) add('change', what, changedItems[size], runChange);
  return planned;
}

/** A server, its building process, and here the lines. */
const BASE_BYTES = 800e6;
const BYTES_AN_ITEM = 1500;
/** Drawing, and three uploads. */
const SECONDS_AN_ITEM = 3.5e-5;
const changeSeconds: Record<Size, number> = { small: 0.2, quick: 0.6, full: 7 };

interface UploadCase {
  axis: string;
  at: number | string;
  count: number;
  seed: number;
}
type Run = (
  one: UploadCase,
  scene: Scene & { drawn: DrawnItems },
  context: CaseContext,
) => Promise<CaseResult>;

async function openScene({ count, seed }: UploadCase, { say }: CaseContext) {
  say('starting a server');
  memory.scene ??= { server: await SidsServer.start(), drawn: undefined, uploaded: new Set() };
  const { scene } = memory;
  if (scene.drawn?.count !== count) {
    say(`drawing ${count} items`);
    scene.drawn = drawItems(count, seed);
  }
  return scene as Scene & { drawn: DrawnItems };
}

async function runUpload(
  one: UploadCase,
  { server, drawn, uploaded }: Scene & { drawn: DrawnItems },
  context: CaseContext,
): Promise<CaseResult> {
  const { count } = one;
  const { packed } = drawn;
  const catalog = nameOf(count);
  const send = () => server.upload(catalog, packed, context.signal);
  const { budgetMs, least, most } = uploadTurns[context.options.size];
  let uploadMs = 0;
  const contenders: Contender[] = [
    {
      name: 'http-upload',
      kind: 'ours',
      async verify() {
        await server.putCatalog(catalog);
        const start = performance.now();
        await send();
        uploadMs = performance.now() - start;
        uploaded.add(catalog);
        return judgeUpload(server, catalog, drawn);
      },
      run: send,
    },
    {
      name: 'unpack-and-parse',
      kind: 'floor',
      verify() {
        const found = unpackAndParse(packed);
        return found === count ? {} : { fault: `it found ${found} lines of ${count}` };
      },
      run: () => unpackAndParse(packed),
    },
  ];
  const turns = () => Math.max(least, Math.min(most, Math.floor(budgetMs / uploadMs)));
  const rivals = await contend(contenders, 'unpack-and-parse', turns, context);
  const [ours] = rivals;
  if (ours.spread !== undefined) {
    ours.extras = {
      ...ours.extras,
      rate: { value: (1000 * count) / ours.spread.p50, unit: 'per second' },
    };
  }
  return resultOf(one, { packedBytes: packed.length }, rivals);
}

/** What a catalog must have after an upload: as many items, and some of them looked at. */
async function judgeUpload({ client }: SidsServer, catalog: string, drawn: DrawnItems): Promise<Verdict> {
  const { items, activeVersion } = await client.catalogs.get(catalog);
  if (activeVersion === null) return { fault: 'no version is active' };
  if (items !== drawn.count) return { fault: `${items} items are active, expected ${drawn.count}` };
  const hash = createHash('sha256');
  for (const sent of drawn.sample) {
    const { sid, attributes } = await client.catalogs.item(catalog, sent.id);
    const fault = faultOfItem(sent, { sid, attributes });
    if (fault !== undefined) return { fault };
    hash.update(JSON.stringify([sent.id, sid, attributes]));
  }
  return { hash: hash.digest('hex').slice(0, 16) };
}

async function runChange(
  one: UploadCase,
  { server, drawn, uploaded }: Scene & { drawn: DrawnItems },
  context: CaseContext,
): Promise<CaseResult> {
  const { client } = server;
  const catalog = nameOf(one.count);
  if (!uploaded.has(catalog)) {
    context.say('uploading the catalog');
    await server.putCatalog(catalog);
    await server.upload(catalog, drawn.packed, context.signal);
    uploaded.add(catalog);
  }
  const ruleCount = rulesInForce[context.options.size];
  const { length } = await client.constraintSets.list(catalog);
  for (let index = length; index < ruleCount; index++) {
    context.say(`putting rules in force: ${index + 1} of ${ruleCount}`);
    await client.constraintSets.put(catalog, `rule-${index}`, { rule: ruleAt(drawn, index).rule });
  }
  const contenders: Contender[] = [
    { name: `http-${one.at}`, kind: 'ours', ...changers[one.at](server, catalog, drawn) },
    // What any answer of this server costs.
    { name: 'http-health', kind: 'floor', verify: () => ({}), run: () => client.health() },
  ];
  const turns = one.at === 'activate' ? activationTurns : changeTurns;
  const rivals = await contend(contenders, 'http-health', turns[context.options.size], context);
  return resultOf(one, { rulesInForce: ruleCount }, rivals);
}

function ruleAt(drawn: DrawnItems, index: number) {
  return priceRule(drawn, index + 1.5, ['c1', 'c2', `c${3 + (index % 190)}`]);
}

type Changer = (server: SidsServer, catalog: string, drawn: DrawnItems) => Pick<Contender, 'verify' | 'run'>;

/** Each is checked at its first turn, and every further one does the same to other items. */
const changers: Record<string, Changer> = {
  rule({ client }, catalog, drawn) {
    const put = (index: number) =>
      client.constraintSets.put(catalog, `rule-0`, { rule: ruleAt(drawn, index % 98).rule });
    return {
      async verify() {
        const { items } = await put(97);
        const { items: expected } = ruleAt(drawn, 97);
        const fault = items === expected ? {} : { fault: `the set has ${items} items, expected ${expected}` };
        return { hash: hashOf(items), ...fault };
      },
      run: put,
    };
  },
  update({ client }, catalog, { count }) {
    const update = (index: number) => {
      const id = `item-${spread(index, count)}`;
      return client.catalogs.changeItems(catalog, { update: [{ id, price: 1 + (index % 90) }] });
    };
    return {
      async verify() {
        const { updated } = await update(count - 1);
        const { attributes } = await client.catalogs.item(catalog, `item-${spread(count - 1, count)}`);
        const expected = 1 + ((count - 1) % 90);
        const isRight = updated === 1 && attributes.price === expected;
        const found = `${updated} updated, price ${attributes.price}`;
        return { hash: hashOf(found), ...(!isRight && { fault: `${found}, expected 1 and ${expected}` }) };
      },
      run: update,
    };
  },
  remove({ client }, catalog, { count }) {
    const remove = (index: number) =>
      client.catalogs.changeItems(catalog, { remove: [`item-${spread(index, count)}`] });
    return {
      async verify() {
        const answer = await remove(count - 1);
        const { removed, sets } = await client.catalogs.item(catalog, `item-${spread(count - 1, count)}`);
        const allowing = sets.filter(({ allowed }) => allowed).map(({ name }) => name);
        const isRight = answer.removed === 1 && removed && allowing.length === 0;
        const found = `${answer.removed} removed, shown as removed: ${removed}, still allowed by ${allowing.join(', ') || 'no set'}`;
        return { hash: hashOf(found), ...(!isRight && { fault: found }) };
      },
      run: remove,
    };
  },
  activate({ client }, catalog) {
    let version: number | null = null;
    const activate = () => client.catalogs.activate(catalog, version ?? 1);
    return {
      async verify() {
        ({ activeVersion: version } = await client.catalogs.get(catalog));
        const { activeVersion, items } = await activate();
        const isRight = activeVersion === version;
        const fault = isRight ? {} : { fault: `version ${activeVersion} is active, expected ${version}` };
        return { hash: hashOf(items), ...fault };
      },
      run: activate,
    };
  },
};

/** Every number below `count` once: places far from each other, since neighbours share what is cached. */
function spread(index: number, count: number): number {
  // A prime that divides none of the counts.
  return (index * 7919) % count;
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

function contend(
  contenders: readonly Contender[],
  yardstick: string,
  turns: number | (() => number),
  { say, signal }: CaseContext,
): Promise<RivalResult[]> {
  return runContest(contenders, { unit: 'ms', warmUp: 0, turns, yardsticks: [yardstick], signal, say });
}

function nameOf(count: number): string {
  return `items-${count}`;
}

function resultOf(
  { axis, at, count, seed }: UploadCase,
  more: Record<string, number>,
  rivals: RivalResult[],
): CaseResult {
  const parameters = { items: count, attributes: 5, seed, ...more };
  return { suite: 'upload', axis, at, parameters, rivals };
}
