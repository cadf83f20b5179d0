import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { SetSnapshot } from '../../src/decoder/activation.js';
import { ActiveCatalog } from '../../src/decoder/active-catalog.js';
import { DecodeEngine } from '../../src/decoder/engine.js';
import { EngineClient } from '../../src/decoder/engine-client.js';
import { engineStarter } from '../../src/decoder/engine-port.js';
import { type Model, openModel } from '../../src/decoder/model.js';
import { prepareRequest } from '../../src/decoder/prepare-request.js';
import { type Recheck, recheck, type ViolationKind } from '../../src/decoder/recheck.js';
import type { AnswerItem, RecommendAnswer, RecommendQuery } from '../../src/decoder/recommend-query.js';
import { CatalogSnapshot, type CatalogVersion, ChangeLog, sidOf } from '../../src/static-trie/index.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { modelFolder } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import { activate, randomItems, smallSchema, snapshotOf, writeItems } from '../helpers/small-catalog.js';

const { seed, numRuns } = seeded('rechecks of right answers', 60);
const random = new Random(seed!);
const items = randomItems(random, 120);
const ids = items.map(({ id }) => id);
const RULE = { rule: 'price < params.max', params: { max: 3 }, nowMs: 0 };
const folder = modelFolder('retail-logits');
let path: string;
let version: CatalogVersion;
/** Sets that are as they say: by rule, and by a list. */
let cheap: SetSnapshot;
let listed: SetSnapshot;
/** Says the rule, and has the bitmaps of all items. */
let wrong: SetSnapshot;

beforeAll(async () => {
  ({ path, version } = await writeItems(items, [256, 256, 256]));
  const snapshot = CatalogSnapshot.of(version, smallSchema);
  const bound = { version: 1, catalogVersion: 1, expiresAtMs: null };
  cheap = { name: 'cheap', ...bound, ...snapshot.derive({ kind: 'rule', ...RULE }, 0) };
  const list = listOf(`${path}.list`, ids.slice(0, 60));
  listed = { name: 'listed', ...bound, ...snapshot.derive({ kind: 'list', ...list }, 0) };
  wrong = { ...snapshotOf(version, 'wrong', ids), rule: RULE };
});

const engines: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

function listOf(file: string, members: readonly string[]) {
  const text = members.map((id) => `${JSON.stringify(id)}\n`).join('');
  writeFileSync(file, text);
  return { path: file, hash: createHash('sha256').update(text).digest('hex') };
}

const ask = (fields: Partial<RecommendQuery>) =>
  query({ catalog: 'small', history: [ids[0]], beamWidth: 64, k: 20, ...fields });

async function startEngine(sets: SetSnapshot[], recheckShare = 1) {
  const rechecks: Recheck[] = [];
  const options = { threads: 1, stepThreads: 1, prefillCacheBytes: 1 << 20, recheckShare };
  const engine = new DecodeEngine(options, (event) => {
    if ('recheck' in event) rechecks.push(event.recheck);
  });
  engines.push(engine);
  const changes = { path: `${path}.log`, after: 0, upTo: 0 };
  await activate(engine, 'small', path, folder, sets, changes);
  return { engine, rechecks };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

describe('a second look at answers', () => {
  it('finds nothing wrong with right ones, whatever was asked, also after changes', async () => {
    const log = ChangeLog.open(`${path}.log`);
    const { engine, rechecks } = await startEngine([cheap, listed]);
    for (let run = 0; run < numRuns!; run++) {
      if (run === numRuns! / 2) {
        log.append({
          at: '2026-01-01T00:00:00.000Z',
          remove: ids.slice(50, 60),
          update: [{ id: ids[0], attributes: { price: 99 } }],
        });
        engine.applyChanges('small', log.lastSeq);
      }
      const some = () => Array.from({ length: 40 }, () => random.pick(ids));
      const { items: answered } = await engine.recommend(
        ask({
          history: some().slice(0, 5),
          excludeHistory: random.chance(0.5),
          constraint: {
            ...(random.chance(0.6) && { set: random.pick(['cheap', 'listed']) }),
            ...(random.chance(0.5) && {
              filter: 'genre != params.genre || since < now',
              params: { genre: random.pick(['art', 'book']) },
            }),
            ...(random.chance(0.3) && { include: some() }),
            ...(random.chance(0.3) && { exclude: some() }),
          },
        }),
      );
      await until(() => rechecks.length > run);
      expect(rechecks[run]).toMatchObject({
        items: answered.length,
        isPartial: false,
        violations: [],
      });
      expect(rechecks[run].failure).toBeUndefined();
    }
    expect(rechecks.some(({ items: count }) => count > 0)).toBe(true);
  });

  it('finds every item that a wrong bitmap let through', async () => {
    const { engine, rechecks } = await startEngine([wrong]);
    const { items: answered } = await engine.recommend(ask({ constraint: { set: 'wrong' } }));
    const priceOf = (id: string) => items.find((item) => item.id === id)!.price ?? Number.POSITIVE_INFINITY;
    const expected = answered.filter(({ id }) => priceOf(id) >= 3).map(({ id }) => ({ id, kind: 'set' }));
    expect(expected.length).toBeGreaterThan(0);
    expect(expected.length).toBeLessThan(answered.length);
    await until(() => rechecks.length === 1);
    expect(rechecks[0]).toMatchObject({ requestId: 'test', set: 'wrong', violations: expected });
  });

  it('finds items that are not in the list', async () => {
    const { engine, rechecks } = await startEngine([
      { ...snapshotOf(version, 'more', ids), list: listOf(`${path}.some`, ids.slice(0, 60)) },
    ]);
    const { items: answered } = await engine.recommend(ask({ constraint: { set: 'more' } }));
    await until(() => rechecks.length === 1);
    const foreign = answered.filter(({ id }) => !ids.slice(0, 60).includes(id));
    expect(rechecks[0].violations.map(({ id }) => id)).toEqual(foreign.map(({ id }) => id));
    expect(foreign.length).toBeGreaterThan(0);
  });

  it('is taken at a share of the answers, after they were given', async () => {
    const { engine, rechecks } = await startEngine([cheap], 0);
    await engine.recommend(ask({}));
    await sleep(5);
    expect(rechecks).toEqual([]);
    const other = await startEngine([cheap], 1);
    const queries = Array.from({ length: 20 }, (_, index) => ask({ requestId: `r${index}` }));
    await other.engine.recommendBatch(queries);
    expect(other.rechecks).toEqual([]);
    await until(() => other.rechecks.length === 16);
    await sleep(5);
    // Further ones of the batch found no room to wait.
    expect(other.rechecks.map(({ requestId }) => requestId)).toEqual(
      queries.slice(0, 16).map(({ requestId }) => requestId),
    );
  });
});

describe('what an answer can break', () => {
  let model: Model;
  beforeAll(async () => {
    model = await openModel(folder, 1);
  });
  afterAll(() => model.close());

  const itemOf = (id: string): AnswerItem => ({
    id,
    score: 0,
    sid: Array.from(sidOf(version, version.ids.find(id))),
  });
  const found = (fields: Partial<RecommendQuery>, answered: AnswerItem[], sets: SetSnapshot[] = []) => {
    const log = ChangeLog.open(`${path}.broken.log`);
    if (log.lastSeq === 0) log.append({ at: '2026-01-01T00:00:00.000Z', remove: [ids[9]], update: [] });
    log.close();
    const catalog = new ActiveCatalog(
      {
        catalog: 'small',
        version: 1,
        path,
        model: { name: 'any', version: 1, folder: '' },
        sets,
        changes: { path: `${path}.broken.log`, after: 0, upTo: log.lastSeq },
      },
      version,
      model,
    );
    const request = prepareRequest(catalog, ask({ history: [], inputIds: [1], ...fields }));
    return recheck(request, { items: answered, versions: {} } as unknown as RecommendAnswer);
  };
  const cases: [ViolationKind, () => Recheck][] = [
    ['item', () => found({}, [{ ...itemOf(ids[0]), id: 'nobody' }])],
    ['sid', () => found({}, [{ ...itemOf(ids[0]), sid: [1, 2, 3] }])],
    ['repeated', () => found({}, [itemOf(ids[0]), itemOf(ids[0])])],
    ['removed', () => found({}, [itemOf(ids[9])])],
    ['filter', () => found({ constraint: { filter: 'false' } }, [itemOf(ids[0])])],
    ['include', () => found({ constraint: { include: [ids[1]] } }, [itemOf(ids[0])])],
    ['history', () => found({ history: [ids[0]], excludeHistory: true }, [itemOf(ids[0])])],
    ['exclude', () => found({ constraint: { exclude: [ids[0]] } }, [itemOf(ids[0])])],
  ];
  it.each(cases)('%s', (kind, look) => {
    expect(look().violations.map((violation) => violation.kind)).toEqual([kind]);
  });

  it('is not asked of a set that knows later changes than the request', () => {
    const constraint = { set: 'wrong' };
    const late = { ...wrong, changesUpTo: 1_000 };
    expect(found({ constraint }, [itemOf(ids[0])], [late])).toMatchObject({
      isPartial: true,
      violations: [],
    });
  });

  it('nor of a list that is gone', () => {
    const set = { ...snapshotOf(version, 'gone', ids), list: { path: `${path}.gone`, hash: 'gone' } };
    const constraint = { set: 'gone' };
    expect(found({ constraint }, [itemOf(ids[0])], [set])).toMatchObject({ isPartial: true, violations: [] });
  });
});

describe.each(['thread', 'process'] as const)('an engine in a %s', (isolation) => {
  it('tells of violations by itself', async () => {
    const script = new URL('../../dist/decoder/engine-worker.js', import.meta.url);
    expect(existsSync(script), 'npm run build makes what engines run').toBe(true);
    const rechecks: Recheck[] = [];
    const engineOptions = { threads: 1, stepThreads: 1, prefillCacheBytes: 0, recheckShare: 1 };
    const client = new EngineClient({
      ...engineOptions,
      isolation,
      engineCount: 1,
      queueLimit: 100,
      maxBatchRows: 64,
      maxBatchWaitMs: 0,
      hangTimeoutMs: 60_000,
      modelOpenTimeoutMs: 60_000,
      onFailure: (error) => expect.fail(error.message),
      onRecheck: (one) => rechecks.push(one),
      start: engineStarter(isolation, engineOptions, script),
    });
    engines.push(client);
    const model = { name: 'retail-logits', version: 1, folder };
    await client.prepareCatalog({ catalog: 'small', version: 1, path, model, sets: [wrong], changes: null });
    await client.commitCatalog('small');
    await client.recommend(ask({ requestId: 'mine', constraint: { set: 'wrong' } }));
    await until(() => rechecks.length === 1);
    expect(rechecks[0]).toMatchObject({ requestId: 'mine', set: 'wrong' });
    expect(rechecks[0].violations.length).toBeGreaterThan(0);
  });
});
