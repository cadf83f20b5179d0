import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { endOf, makeDataDir, makeModelsDir, send, startTestServer, upload } from '../helpers/server.js';
import {
  attributes,
  idsUnder,
  items,
  makeSmallCatalog,
  putRule,
  SETS,
  sid,
} from '../helpers/small-server.js';

/**
 * What has a name now need not be what had it when a job began: jobs go on in the background, and a set or a catalog may
 * be deleted and made anew meanwhile, or get a name that another has just taken.
 */

const dataDir = makeDataDir();
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, ['--build-concurrency', '2'], makeModelsDir());
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

const postList = (set: string, text: string) =>
  send(server, 'POST', `${SETS}/${set}/versions?activate=true`, text, 'application/x-ndjson');
const ended = async (reply: { body: { job: { id: string } } }) => endOf(server, reply.body.job.id);

it('a list whose set was deleted meanwhile is not that of the next set of the name', async () => {
  const first = await postList('picked', '"0-1"\n'.repeat(5_000));
  expect((await send(server, 'DELETE', `${SETS}/picked`)).status).toBe(204);
  const second = await postList('picked', '"1-2"\n');
  expect(await ended(first)).toMatchObject({ state: 'failed', error: { code: 'ESP_SET_NOT_FOUND' } });
  expect(await ended(second)).toMatchObject({ state: 'succeeded', result: { count: 1, items: 1 } });
  expect(await idsUnder(server, { set: 'picked' })).toEqual(['1-2']);

  const third = await postList('picked', '"0-1"\n'.repeat(5_000));
  expect((await send(server, 'DELETE', `${SETS}/picked`)).status).toBe(204);
  expect((await putRule(server, 'picked', 'colour == "red"')).status).toBe(201);
  expect(await ended(third)).toMatchObject({ state: 'failed', error: { code: 'ESP_SET_NOT_FOUND' } });
  expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-0', '1-0']);
  const folder = join(dataDir, 'catalogs', 'small', 'constraint-sets');
  await expect.poll(() => readdirSync(folder).filter((file) => file.endsWith('.list'))).toEqual([]);
});

it('an upload whose catalog was deleted meanwhile is not that of the next catalog of the name', async () => {
  await makeSmallCatalog(server, 'again');
  const catalog = { model: 'table', sid, attributes };
  const lines = items.map((item) => `${JSON.stringify(item)}\n`);
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(Buffer.from(lines[0]));
      while (readdirSync(join(dataDir, 'uploads')).length === 0) await setTimeout(5);
      expect((await send(server, 'DELETE', '/v1/catalogs/again')).status).toBe(204);
      expect((await send(server, 'PUT', '/v1/catalogs/again', catalog)).status).toBe(201);
      controller.enqueue(Buffer.from(lines.slice(1).join('')));
      controller.close();
    },
  });
  const response = await fetch(`${server.url}/v1/catalogs/again/versions?activate=true`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body,
    duplex: 'half',
  } as RequestInit);
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'ESP_CATALOG_NOT_FOUND' } });
  expect((await upload(server, 'again', items.slice(0, 2))).result).toMatchObject({ version: 1, items: 2 });
  expect(await idsUnder(server, {}, 'again')).toEqual(['0-0', '0-1']);
});

it('a set and an alias do not get one name at the same time', async () => {
  await putRule(server, 'all', 'price >= 0.0');
  for (let number = 0; number < 8; number++) {
    const name = `name-${number}`;
    const set = { alias: name, catalog: 'small', constraintSet: 'all' };
    const [rule, alias] = await Promise.all([
      putRule(server, name, 'colour == "red"'),
      send(server, 'POST', '/v1/aliases', { actions: [{ set }] }),
    ]);
    expect([rule.status, alias.status].filter((status) => status < 300)).toHaveLength(1);
    const expected = rule.status === 201 ? ['0-0', '1-0'] : items.map(({ id }) => id).sort();
    expect(await idsUnder(server, { set: name })).toEqual(expected);
  }
});

it('an alias waits for the first list of its set', async () => {
  const list = await postList('failing', `${'"0-1"\n'.repeat(5_000)}[1, 2, 3]\n`);
  const set = { alias: 'early', catalog: 'small', constraintSet: 'failing' };
  expect((await send(server, 'POST', '/v1/aliases', { actions: [{ set }] })).status).toBe(404);
  expect((await ended(list)).state).toBe('failed');
  expect((await send(server, 'GET', '/v1/aliases')).body.aliases).not.toContainEqual(set);
});

it('a version that is being made of added items cannot be activated before it is there', async () => {
  const added = await send(server, 'PATCH', '/v1/catalogs/small/items', {
    add: [{ ...items[0], id: 'new' }],
  });
  const { version, job } = added.body;
  let isOver = false;
  const statuses = new Set<number>();
  const activate = async () => {
    while (!isOver) {
      statuses.add((await send(server, 'POST', `/v1/catalogs/small/versions/${version}/activate`)).status);
    }
  };
  const change = async () => {
    for (let number = 0; !isOver; number = 1 - number) await putRule(server, `busy-${number}`, 'price > 1.0');
  };
  const others = [activate, activate, activate, change, change, change].map((run) => run());
  expect((await endOf(server, job.id)).state).toBe('succeeded');
  isOver = true;
  await Promise.all(others);
  expect(statuses).toContain(404);
  expect((await send(server, 'GET', '/v1/catalogs/small')).body).toMatchObject({ activeVersion: version });
  expect(readdirSync(join(dataDir, 'catalogs/small/versions', String(version)))).toContain('catalog.bin');
});
