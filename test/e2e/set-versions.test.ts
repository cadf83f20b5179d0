import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, makeModelsDir, send, startTestServer } from '../helpers/server.js';
import { idsUnder, makeSmallCatalog, putRule, SETS } from '../helpers/small-server.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
const options = ['--keep-versions', '3'];
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, options, models);
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

const RED = ['0-0', '1-0'];
const CHEAP = ['0-0'];

describe('versions of a constraint set', () => {
  it('numbers them, says who and when, and what they consist of', async () => {
    const first = await send(server, 'PUT', `${SETS}/a`, { rule: 'colour == "red"' }, undefined, {
      'x-actor': 'ada',
    });
    expect(first.status).toBe(201);
    expect(first.body).toMatchObject({ version: 1, kind: 'rule', createdBy: 'ada', items: 2, warnings: [] });
    const second = await putRule(server, 'a', 'price < params.max', { params: { max: 1 } });
    expect(second.status).toBe(200);
    expect(second.body).toMatchObject({ version: 2, createdBy: null, items: 1, earlier: [1] });
    const [one, two] = second.body.versions;
    expect(one).toMatchObject({ version: 1, rule: 'colour == "red"', createdBy: 'ada' });
    expect(two).toMatchObject({ version: 2, rule: 'price < params.max', params: { max: 1 } });
    expect(one.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(two.hash).not.toBe(one.hash);
    expect(await idsUnder(server, { set: 'a' })).toEqual(CHEAP);
  });

  it('activates any version, and rolls back further with each step', async () => {
    const activated = await send(server, 'POST', `${SETS}/a/activate`, { version: 1 });
    expect(activated.body).toMatchObject({ version: 1, rule: 'colour == "red"', earlier: [1, 2] });
    expect(await idsUnder(server, { set: 'a' })).toEqual(RED);
    const back = await send(server, 'POST', `${SETS}/a/rollback`);
    expect(back.body).toMatchObject({ version: 2, earlier: [1] });
    expect(await idsUnder(server, { set: 'a' })).toEqual(CHEAP);
    const further = await send(server, 'POST', `${SETS}/a/rollback`, { version: 1 });
    expect(further.body).toMatchObject({ version: 1, earlier: [] });
    const none = await send(server, 'POST', `${SETS}/a/rollback`);
    expect([none.status, none.body.error.code]).toEqual([409, 'ESP_ROLLBACK_UNAVAILABLE']);
    expect(await idsUnder(server, { set: 'a' })).toEqual(RED);
    // To one that was left, and nowhere from it: what was left is forgotten.
    const left = await send(server, 'POST', `${SETS}/a/rollback`, { version: 2 });
    expect(left.body).toMatchObject({ version: 2, earlier: [] });
    expect(await idsUnder(server, { set: 'a' })).toEqual(CHEAP);
    for (const [version, status, code] of [
      [2, 409, 'ESP_ROLLBACK_UNAVAILABLE'],
      [9, 404, 'ESP_VERSION_NOT_FOUND'],
    ] as const) {
      const reply = await send(server, 'POST', `${SETS}/a/rollback`, { version });
      expect([reply.status, reply.body.error.code]).toEqual([status, code]);
    }
    const unknown = await send(server, 'POST', `${SETS}/a/activate`, { version: 9 });
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'ESP_VERSION_NOT_FOUND']);
  });

  it('keeps the newest versions, the one in force and the one before it', async () => {
    for (const max of [1, 2, 3, 4, 5]) await putRule(server, 'kept', `price < ${max}.0`);
    const { body } = await send(server, 'POST', `${SETS}/kept/activate`, { version: 3 });
    expect(body.versions.map(({ version }: { version: number }) => version)).toEqual([3, 4, 5]);
    await putRule(server, 'kept', 'price < 6.0');
    const after = await send(server, 'GET', `${SETS}/kept`);
    expect(after.body.versions.map(({ version }: { version: number }) => version)).toEqual([3, 4, 5, 6]);
    expect(after.body.earlier).toEqual([3, 4, 5, 3]);
  });

  it('allows a rule that matches nothing, with a warning, and answers nothing under it', async () => {
    const { status, body } = await putRule(server, 'nothing', 'price > 100.0');
    expect([status, body.items, body.warnings]).toEqual([201, 0, ['the set allows no item']]);
    expect(await idsUnder(server, { set: 'nothing' })).toEqual([]);
  });

  it('leaves everything as it was where a rule is refused', async () => {
    const before = await send(server, 'GET', `${SETS}/a`);
    const bad = await putRule(server, 'a', 'prize < 1.0');
    expect([bad.status, bad.body.error.code]).toEqual([400, 'ESP_RULE_NAME']);
    expect((await send(server, 'GET', `${SETS}/a`)).body).toEqual(before.body);
    expect((await putRule(server, 'never', 'prize < 1.0')).status).toBe(400);
    expect((await send(server, 'GET', `${SETS}/never`)).status).toBe(404);
  });

  it('deletes a set: requests under it are refused, not unconstrained', async () => {
    await putRule(server, 'gone', 'price < 1.0');
    expect((await send(server, 'DELETE', `${SETS}/gone`)).status).toBe(204);
    const body = { catalog: 'small', history: [], constraint: { set: 'gone' } };
    const answer = await send(server, 'POST', '/v1/recommend', body);
    expect([answer.status, answer.body.error.code]).toEqual([404, 'ESP_SET_NOT_FOUND']);
    expect((await send(server, 'DELETE', `${SETS}/gone`)).status).toBe(404);
  });
});

describe('lost updates', () => {
  it('refuses a change meant for another state, and takes it with the ETag of this one', async () => {
    const first = await putRule(server, 'etag', 'price < 1.0');
    const stale = first.headers.get('etag')!;
    expect((await send(server, 'GET', `${SETS}/etag`)).headers.get('etag')).toBe(stale);
    const second = await putRule(server, 'etag', 'price < 2.0');
    const current = second.headers.get('etag')!;
    expect(current).not.toBe(stale);
    const put = (headers: Record<string, string>) =>
      send(server, 'PUT', `${SETS}/etag`, { rule: 'price < 3.0' }, undefined, headers);
    for (const [method, path, body] of [
      ['PUT', `${SETS}/etag`, { rule: 'price < 3.0' }],
      ['POST', `${SETS}/etag/activate`, { version: 1 }],
      ['POST', `${SETS}/etag/rollback`, {}],
      ['DELETE', `${SETS}/etag`, undefined],
    ] as const) {
      const refused = await send(server, method, path, body, undefined, { 'if-match': stale });
      expect([refused.status, refused.body.error.code]).toEqual([412, 'ESP_PRECONDITION_FAILED']);
    }
    expect((await put({ 'if-none-match': '*' })).status).toBe(412);
    expect((await put({ 'if-match': `W/${current}` })).status).toBe(412);
    expect((await put({ 'if-match': 'nonsense' })).status).toBe(400);
    expect((await send(server, 'GET', `${SETS}/etag`)).body.version).toBe(2);
    expect((await put({ 'if-match': `"other", ${current}` })).body.version).toBe(3);
    expect((await put({ 'if-match': '*' })).body.version).toBe(4);
    const absent = await send(server, 'PUT', `${SETS}/new`, { rule: 'price < 3.0' }, undefined, {
      'if-match': '*',
    });
    expect(absent.status).toBe(412);
  });

  it('holds for catalogs, too', async () => {
    const { headers } = await send(server, 'GET', '/v1/catalogs/small');
    const etag = headers.get('etag')!;
    const activate = (tag: string) =>
      send(server, 'POST', '/v1/catalogs/small/versions/1/activate', undefined, undefined, {
        'if-match': tag,
        'x-actor': 'grace',
      });
    const changed = await activate(etag);
    expect([changed.status, changed.body.active.activatedBy]).toEqual([200, 'grace']);
    expect((await activate(etag)).status).toBe(412);
    const rollback = { 'if-match': etag };
    expect(
      (await send(server, 'POST', '/v1/catalogs/small/rollback', undefined, undefined, rollback)).status,
    ).toBe(412);
    expect((await send(server, 'DELETE', '/v1/catalogs/small', undefined, undefined, rollback)).status).toBe(
      412,
    );
    expect((await activate(changed.headers.get('etag')!)).status).toBe(200);
  });
});

describe('aliases', () => {
  const change = (actions: unknown[], headers = {}) =>
    send(server, 'POST', '/v1/aliases', { actions }, undefined, headers);
  const set = (alias: string, constraintSet: string) => ({
    set: { alias, catalog: 'small', constraintSet },
  });

  it('stand for a set, and move to another at once', async () => {
    await putRule(server, 'red', 'colour == "red"');
    await putRule(server, 'cheap', 'price < 1.0');
    expect((await change([set('shown', 'red'), set('other', 'cheap')])).status).toBe(200);
    expect(await idsUnder(server, { set: 'shown' })).toEqual(RED);
    expect((await change([set('shown', 'cheap'), set('other', 'red')])).body.aliases).toEqual([
      { alias: 'other', catalog: 'small', constraintSet: 'red' },
      { alias: 'shown', catalog: 'small', constraintSet: 'cheap' },
    ]);
    expect(await idsUnder(server, { set: 'shown' })).toEqual(CHEAP);
    expect((await send(server, 'GET', `${SETS}/shown`)).body.name).toBe('cheap');
  });

  it('change all or none', async () => {
    const before = (await send(server, 'GET', '/v1/aliases')).body;
    for (const [actions, status, code] of [
      [[set('shown', 'red'), set('x', 'missing')], 404, 'ESP_SET_NOT_FOUND'],
      [[set('shown', 'red'), { delete: { alias: 'missing' } }], 404, 'ESP_ALIAS_NOT_FOUND'],
      [[set('shown', 'red'), set('cheap', 'red')], 409, 'ESP_ALIAS_CONFLICT'],
      [[{ set: { alias: 'x', catalog: 'nowhere', constraintSet: 'red' } }], 404, 'ESP_CATALOG_NOT_FOUND'],
      [[], 400, 'ESP_REQUEST_INVALID'],
      [[{ set: { alias: 'x' } }], 400, 'ESP_REQUEST_INVALID'],
    ] as const) {
      const answer = await change([...actions]);
      expect([answer.status, answer.body.error.code]).toEqual([status, code]);
      expect((await send(server, 'GET', '/v1/aliases')).body).toEqual(before);
    }
    expect(await idsUnder(server, { set: 'shown' })).toEqual(CHEAP);
  });

  it('keep their set, and their name, from others', async () => {
    const used = await send(server, 'DELETE', `${SETS}/cheap`);
    expect([used.status, used.body.error.code]).toEqual([409, 'ESP_SET_IN_USE']);
    const catalog = await send(server, 'DELETE', '/v1/catalogs/small');
    expect([catalog.status, catalog.body.error.code]).toEqual([409, 'ESP_SET_IN_USE']);
    const taken = await putRule(server, 'shown', 'price < 1.0');
    expect([taken.status, taken.body.error.code]).toEqual([409, 'ESP_ALIAS_CONFLICT']);
  });

  it('have an ETag of their own', async () => {
    const etag = (await send(server, 'GET', '/v1/aliases')).headers.get('etag')!;
    expect((await change([set('shown', 'red')], { 'if-match': etag })).status).toBe(200);
    expect((await change([set('shown', 'cheap')], { 'if-match': etag })).status).toBe(412);
  });
});

describe('sets that refresh themselves', () => {
  it('are evaluated again, and say when', async () => {
    const { status, body } = await putRule(server, 'fresh', 'now > timestamp("2020-01-01T00:00:00Z")', {
      refreshSeconds: 1,
    });
    expect([status, body.refreshSeconds, body.maxAgeSeconds, body.whenStale]).toEqual([201, 1, 10, 'refuse']);
    await expect
      .poll(async () => (await send(server, 'GET', `${SETS}/fresh`)).body.evaluatedAt, { timeout: 5_000 })
      .not.toBe(body.evaluatedAt);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/espalier_constraint_set_refreshes_total\{outcome="succeeded"\} [1-9]/);
    expect((await send(server, 'GET', `${SETS}/fresh`)).body.version).toBe(1);
  });

  it('see time pass: what is allowed until a moment is not allowed after it', async () => {
    const until = new Date(Date.now() + 2_500).toISOString();
    const params = { until };
    await putRule(server, 'until', 'now < timestamp(params.until)', { params, refreshSeconds: 1 });
    await putRule(server, 'frozen', 'now < timestamp(params.until)', { params });
    expect(await idsUnder(server, { set: 'until' })).toHaveLength(6);
    await wait(4_000);
    expect(await idsUnder(server, { set: 'until' })).toEqual([]);
    expect(await idsUnder(server, { set: 'frozen' })).toHaveLength(6);
  });

  it('refuses an age without a refresh, or a shorter one', async () => {
    for (const more of [
      { maxAgeSeconds: 5 },
      { whenStale: 'serve' },
      { refreshSeconds: 9, maxAgeSeconds: 5 },
    ]) {
      const { status, body } = await putRule(server, 'bad', 'price < 1.0', more);
      expect([status, body.error.code]).toEqual([400, 'ESP_REQUEST_INVALID']);
    }
  });
});

describe('after a restart', () => {
  it('sets, versions, aliases and ETags are what they were', async () => {
    const read = async () => ({
      sets: (await send(server, 'GET', SETS)).body.constraintSets.filter(
        ({ refreshSeconds }: { refreshSeconds?: number }) => refreshSeconds === undefined,
      ),
      etag: (await send(server, 'GET', `${SETS}/a`)).headers.get('etag'),
      aliases: (await send(server, 'GET', '/v1/aliases')).body,
      shown: await idsUnder(server, { set: 'shown' }),
    });
    const before = await read();
    await server.stop();
    server = await startTestServer(dataDir, options, models);
    expect(await read()).toEqual(before);
  });

  it('a deleted catalog stays deleted, and its name is free', async () => {
    await makeSmallCatalog(server, 'brief');
    expect((await send(server, 'DELETE', '/v1/catalogs/brief')).status).toBe(204);
    expect((await send(server, 'GET', '/v1/catalogs/brief')).status).toBe(404);
    const body = { catalog: 'brief', history: [] };
    expect((await send(server, 'POST', '/v1/recommend', body)).status).toBe(404);
    await server.stop();
    server = await startTestServer(dataDir, options, models);
    expect((await send(server, 'GET', '/v1/catalogs/brief')).status).toBe(404);
    await makeSmallCatalog(server, 'brief');
    expect(await idsUnder(server, {}, 'brief')).toHaveLength(6);
  });
});
