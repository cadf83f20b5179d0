import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import {
  endOf,
  makeDataDir,
  makeModelsDir,
  type Reply,
  send,
  startTestServer,
  upload,
} from '../helpers/server.js';
import {
  attributes,
  idsUnder,
  items,
  makeSmallCatalog,
  putRule,
  SETS,
  sid,
} from '../helpers/small-server.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
const folder = join(dataDir, 'catalogs', 'small', 'constraint-sets');
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, ['--keep-versions', '2'], models);
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

async function post(
  set: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
  activate = true,
) {
  const response = await fetch(`${server.url}${SETS}/${set}/versions?activate=${activate}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', ...headers },
    body: body as string,
  });
  return { status: response.status, body: (await response.json()) as Reply['body'] };
}

/** The job of a list, when it has ended. */
async function list(...args: Parameters<typeof post>) {
  const answer = await post(...args);
  expect(answer.status, JSON.stringify(answer.body)).toBe(202);
  return endOf(server, answer.body.job.id);
}

const lists = () => readdirSync(folder).filter((file) => file.endsWith('.list'));

describe('a set from a list', () => {
  it('takes ids, and counts those that no item has', async () => {
    const job = await list('picked', '"0-0"\n"1-2"\n{"id":"nobody"}\n"0-0"\n');
    expect(job).toMatchObject({
      kind: 'constraint-set-build',
      state: 'succeeded',
      result: { constraintSet: 'picked', version: 1, kind: 'items', count: 3, items: 2, unknownCount: 1 },
    });
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-0', '1-2']);
    expect((await send(server, 'GET', `${SETS}/picked`)).body).toMatchObject({
      version: 1,
      kind: 'items',
      count: 3,
      items: 2,
      unknownCount: 1,
      unknown: ['"nobody"'],
      warnings: ['1 of the list are not in the catalog version'],
    });
  });

  it('takes SIDs, packed and as CSV, as the next version; the one before can come back', async () => {
    const job = await list('picked', gzipSync('sid\n1-0\n1-1\n0-2\n'), {
      'content-type': 'text/csv',
      'content-encoding': 'gzip',
      'x-actor': 'ada',
    });
    expect(job.result).toMatchObject({ version: 2, kind: 'sids', count: 3, items: 3, unknownCount: 0 });
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-2', '1-0', '1-1']);
    const back = await send(server, 'POST', `${SETS}/picked/rollback`);
    expect(back.body).toMatchObject({ version: 1, kind: 'items' });
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-0', '1-2']);
    expect(back.body.versions[1]).toMatchObject({ version: 2, createdBy: 'ada' });
  });

  it('is not in force unless asked for, and mixes with rules over its versions', async () => {
    const job = await list('mixed', '"0-1"\n', {}, false);
    expect(job.result).toMatchObject({ version: 1, activated: false });
    expect((await send(server, 'GET', `${SETS}/mixed`)).body).toMatchObject({ version: null, items: null });
    const body = { catalog: 'small', history: [], constraint: { set: 'mixed' } };
    expect((await send(server, 'POST', '/v1/recommend', body)).status).toBe(404);
    expect((await putRule(server, 'mixed', 'price < 1.0')).body.version).toBe(2);
    expect(await idsUnder(server, { set: 'mixed' })).toEqual(['0-0']);
    await send(server, 'POST', `${SETS}/mixed/activate`, { version: 1 });
    expect(await idsUnder(server, { set: 'mixed' })).toEqual(['0-1']);
  });

  it('fails as a whole on a bad line, and leaves no set and no file behind', async () => {
    const before = lists();
    const job = await list('bad', '"0-0"\n[1, 9]\n');
    expect(job).toMatchObject({ state: 'failed', error: { code: 'ESP_UPLOAD_INVALID' } });
    expect(job.error.details[0]).toMatchObject({ line: 2 });
    expect((await send(server, 'GET', `${SETS}/bad`)).status).toBe(404);
    expect(lists()).toEqual(before);
    const again = await list('picked', '{"id": 7}\n');
    expect(again.state).toBe('failed');
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-0', '1-2']);
    // Numbers are not given twice.
    expect((await list('picked', '"0-0"\n')).result.version).toBe(4);
  });

  it('keeps the lists of the versions that are kept, and no other', async () => {
    for (const id of ['0-0', '0-1', '0-2', '1-0']) await list('kept', `"${id}"\n`);
    expect(lists().filter((file) => file.startsWith('kept'))).toEqual(['kept.3.list', 'kept.4.list']);
    await send(server, 'DELETE', `${SETS}/kept`);
    expect(lists().filter((file) => file.startsWith('kept'))).toEqual([]);
  });

  it('follows the catalog to its next version, and survives a restart', async () => {
    await list('picked', '"0-0"\n"1-2"\n"later"\n');
    const more = [...items.filter(({ id }) => id !== '0-0'), { id: 'later', sid: [0, 0] }];
    expect((await upload(server, 'small', more)).state).toBe('succeeded');
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['1-2', 'later']);
    await server.stop();
    server = await startTestServer(dataDir, ['--keep-versions', '2'], models);
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['1-2', 'later']);
  });

  it('does not serve a list that is damaged: activating a version refuses, and what is active stays', async () => {
    const file = lists().findLast((name) => name.startsWith('picked'))!;
    writeFileSync(join(folder, file), '"0-1"\n');
    const { status, body } = await send(server, 'POST', '/v1/catalogs/small/versions/1/activate');
    expect([status, body.error.code]).toEqual([500, 'ESP_ARTIFACT_CORRUPT']);
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['1-2', 'later']);
  });

  it('is the same job when it is sent again with its Idempotency-Key', async () => {
    const key = { 'idempotency-key': 'once' };
    const first = await post('again', '"0-1"\n', key, false);
    const second = await post('again', '"0-1"\n', key, false);
    expect([second.body.job.id, second.body.version]).toEqual([first.body.job.id, first.body.version]);
    await endOf(server, first.body.job.id);
    expect((await send(server, 'GET', `${SETS}/again`)).body.versions).toHaveLength(1);
  });
});

describe('a rule that does not fit the catalog any more', () => {
  it('keeps a version from being activated, by its name, and nothing changes', async () => {
    const path = '/v1/catalogs/changing';
    const put = (of: object) => send(server, 'PUT', path, { model: 'table', sid, attributes: of });
    expect((await put(attributes)).status).toBe(201);
    const rule = { rule: 'colour == "red"' };
    expect((await send(server, 'PUT', `${path}/constraint-sets/red`, rule)).status).toBe(201);
    const { colour: _, ...others } = attributes;
    expect((await put(others)).status).toBe(200);
    const plain = items.map(({ colour: _, ...item }) => item);
    const before = [
      await send(server, 'GET', path),
      await send(server, 'GET', `${path}/constraint-sets/red`),
    ];
    const job = await upload(server, 'changing', plain);
    expect(job).toMatchObject({
      state: 'failed',
      error: { code: 'ESP_SET_UNBOUND', message: expect.stringMatching(/these sets cannot bind: red$/) },
    });
    expect(job.error.details).toEqual([expect.objectContaining({ field: 'red' })]);
    const after = [await send(server, 'GET', path), await send(server, 'GET', `${path}/constraint-sets/red`)];
    expect(after.map(({ body }) => body)).toEqual(before.map(({ body }) => body));
    const answer = await send(server, 'POST', '/v1/recommend', { catalog: 'changing', history: [] });
    expect([answer.status, answer.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    expect((await send(server, 'DELETE', `${path}/constraint-sets/red`)).status).toBe(204);
    expect((await upload(server, 'changing', plain)).state).toBe('succeeded');
  });
});
