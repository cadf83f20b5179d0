import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { endOf, makeDataDir, makeModelsDir, send, startTestServer, upload } from '../helpers/server.js';
import { idsUnder, items, makeSmallCatalog, putRule, SETS } from '../helpers/small-server.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, [], models);
  await makeSmallCatalog(server);
  await putRule(server, 'red', 'colour == "red"');
  await putRule(server, 'cheap', 'price < params.max', { params: { max: 2 } });
});
afterAll(() => server.stop());

const CATALOG = '/v1/catalogs/small';
const patch = (changes: object, headers: Record<string, string> = {}) =>
  send(server, 'PATCH', `${CATALOG}/items`, changes, undefined, headers);
const view = (id: string) => send(server, 'GET', `${CATALOG}/items/${encodeURIComponent(id)}`);

/** What the answer says of an item. */
async function priceOf(id: string): Promise<unknown> {
  const body = { catalog: 'small', history: [], constraint: { include: [id] }, attributes: ['price'] };
  return (await send(server, 'POST', '/v1/recommend', body)).body.items[0]?.attributes.price;
}

describe('small changes', () => {
  it('removes an item from the next request on: free, under a set, and under a filter', async () => {
    const { status, body } = await patch({ remove: ['0-0', 'nobody'] });
    expect([status, body]).toEqual([200, { removed: 1, updated: 0, unknownItems: ['nobody'] }]);
    expect(await idsUnder(server)).toEqual(['0-1', '0-2', '1-0', '1-1', '1-2']);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['1-0']);
    expect(await idsUnder(server, { filter: 'price < 1.0' })).toEqual([]);
    expect(await idsUnder(server, { include: ['0-0', '0-1'] })).toEqual(['0-1']);
    expect((await patch({ remove: ['0-0'] })).body).toMatchObject({ removed: 0, unknownItems: ['0-0'] });
  });

  it('updates values; sets and filters that read the attribute follow', async () => {
    expect(await idsUnder(server, { set: 'cheap' })).toEqual(['0-1', '1-0']);
    const { status, body } = await patch({
      update: [
        { id: '1-2', price: 0.5 },
        { id: '1-0', price: 9 },
        { id: '0-1', colour: null },
      ],
    });
    expect([status, body.updated]).toEqual([200, 3]);
    expect(await idsUnder(server, { set: 'cheap' })).toEqual(['0-1', '1-2']);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['1-0']);
    expect(await idsUnder(server, { filter: 'price < 1.0' })).toEqual(['1-2']);
    expect(await idsUnder(server, { filter: '!has(item.colour)' })).toEqual(['0-1']);
    expect(await priceOf('1-2')).toBe(0.5);
    expect((await send(server, 'GET', `${SETS}/cheap`)).body).toMatchObject({ version: 1, items: 3 });
  });

  it('says what is wrong with which item, and changes nothing', async () => {
    const bad = await patch({
      remove: ['1-1'],
      update: [{ id: '1-1', price: 'much' }, { id: '1-1' }, { id: '1-1', prize: 1 }],
      add: [{ id: 'new', sid: [0, 9] }],
    });
    expect([bad.status, bad.body.error.code]).toEqual([422, 'ESP_UPLOAD_INVALID']);
    const fields = bad.body.error.details.map(({ field }: { field: string }) => field);
    expect(fields).toEqual(['update[0].price', 'update[1]', 'update[2].prize', 'add[0].sid[1]']);
    const names = Array.from({ length: 3_000 }, (_, index) => `prize${index}`);
    const unknown = Object.fromEntries(names.map((name) => [name, 1]));
    const wide = await patch({ update: Array.from({ length: 12 }, () => ({ id: '1-1', ...unknown })) });
    expect([wide.status, wide.body.error.details.length]).toEqual([422, 100]);
    expect(wide.body.error.details[99].field).toBe('update[9].prize9');
    expect(wide.body.error.message).toMatch(/; 35900 more faults not listed; nothing was changed$/);
    const there = await patch({ remove: ['1-1'], add: [{ id: '1-2', sid: [0, 0] }] });
    expect([there.status, there.body.error.details[0].field]).toEqual([422, 'add[0].id']);
    for (const body of [{}, { remove: '1-1' }, { remove: ['1-1'], drop: [] }]) {
      expect((await patch(body)).status).toBe(400);
    }
    expect((await patch({ remove: ['1-1'] }, { 'if-match': '"stale"' })).status).toBe(412);
    expect(await idsUnder(server)).toContain('1-1');
  });

  it('adds items by a job, with the removals and updates before and during it', async () => {
    const added = await patch({
      remove: ['1-1'],
      add: [
        { id: 'new', sid: [1, 1], price: 1, colour: 'red' },
        { id: '0-0', sid: [0, 0], price: 0, colour: 'green' },
      ],
    });
    expect([added.status, added.body.removed, added.body.version]).toEqual([202, 1, 2]);
    // While the job waits or runs, or just after it.
    await patch({ remove: ['0-2'], update: [{ id: '1-2', price: 0.25 }] });
    const job = await endOf(server, added.body.job.id);
    expect(job).toMatchObject({
      kind: 'catalog-changes',
      state: 'succeeded',
      result: { version: 2, items: 6 },
    });
    expect(await idsUnder(server)).toEqual(['0-0', '0-1', '1-0', '1-2', 'new']);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['1-0', 'new']);
    expect(await priceOf('1-2')).toBe(0.25);
    const { body } = await send(server, 'GET', CATALOG);
    expect(body).toMatchObject({ activeVersion: 2, earlier: [{ version: 1 }] });
  });

  it('stay in force over a rollback and a restart', async () => {
    const back = await send(server, 'POST', `${CATALOG}/rollback`);
    expect(back.body.activeVersion).toBe(1);
    const expected = ['0-1', '1-0', '1-2'];
    expect(await idsUnder(server)).toEqual(expected);
    expect(await priceOf('1-2')).toBe(0.25);
    expect(await idsUnder(server, { set: 'cheap' })).toEqual(['0-1', '1-2']);
    await server.stop();
    server = await startTestServer(dataDir, [], models);
    expect(await idsUnder(server)).toEqual(expected);
    expect(await priceOf('1-2')).toBe(0.25);
    expect(await idsUnder(server, { set: 'cheap' })).toEqual(['0-1', '1-2']);
  });

  it('give way to what an upload brings afterwards', async () => {
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    expect(await idsUnder(server)).toEqual(items.map(({ id }) => id).sort());
    expect(await priceOf('1-2')).toBe(3);
  });

  it('are kept for an upload that was being received when they came', async () => {
    const lines = items.map((item) => JSON.stringify(item));
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(Buffer.from(`${lines.slice(0, 3).join('\n')}\n`));
        while (readdirSync(join(dataDir, 'uploads')).length === 0) await setTimeout(5);
        expect((await patch({ remove: ['0-1'] })).body.removed).toBe(1);
        controller.enqueue(Buffer.from(lines.slice(3).join('\n')));
        controller.close();
      },
    });
    const response = await fetch(`${server.url}${CATALOG}/versions?activate=true`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body,
      duplex: 'half',
    } as RequestInit);
    const { job } = (await response.json()) as { job: { id: string } };
    expect((await endOf(server, job.id)).state).toBe('succeeded');
    expect(await idsUnder(server)).toEqual(['0-0', '0-2', '1-0', '1-1', '1-2']);
  });

  it('hold for items that are still to be added, in their order', async () => {
    const lines = items.map((item) => JSON.stringify(item)).join('\n');
    // So that what is added waits.
    await send(server, 'POST', `${CATALOG}/versions`, lines, 'application/x-ndjson');
    const add = ['gone', 'back', 'kept'].map((id) => ({ id, sid: [0, 1], price: 4, colour: 'red' }));
    const jobs = [(await patch({ add })).body.job];
    await patch({ remove: ['gone', 'back'], update: [{ id: 'kept', price: 7, colour: null }] });
    jobs.push((await patch({ remove: ['back'], add: [{ id: 'back', sid: [0, 1], price: 5 }] })).body.job);
    for (const { id } of jobs) expect((await endOf(server, id)).state).toBe('succeeded');
    expect(await idsUnder(server)).toEqual(['0-0', '0-2', '1-0', '1-1', '1-2', 'back', 'kept']);
    expect([await priceOf('kept'), await priceOf('back')]).toEqual([7, 5]);
    expect(await idsUnder(server, { filter: '!has(item.colour)' })).toEqual(['back', 'kept']);
    expect((await view('gone')).status).toBe(404);
  });
});

describe('one item', () => {
  it('is shown with its neighbours and the verdict of every set, and why', async () => {
    const shared = [...items, { id: '0-0b', sid: [0, 0], price: 5, colour: 'red' }];
    const shelf = {
      model: 'table',
      sid: { codebookSizes: [2, 3] },
      attributes: { price: { type: 'double' } },
    };
    await send(server, 'PUT', '/v1/catalogs/shelf', shelf);
    expect((await upload(server, 'small', shared)).state).toBe('succeeded');
    await putRule(server, 'both', 'colour == "red" && price > 1.0');
    await putRule(server, 'odd', 'colour.size() > 0 || price > 100.0');
    const { status, body } = await view('0-0');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: '0-0',
      sid: [0, 0],
      attributes: { price: 0, colour: 'red' },
      removed: false,
      sharing: ['0-0b'],
      sharingCount: 1,
    });
    const both = body.sets.find(({ name }: { name: string }) => name === 'both');
    expect(both).toEqual({
      name: 'both',
      version: 1,
      allowed: false,
      reason: 'rule',
      rule: {
        verdict: 'false',
        parts: [
          { text: 'colour == "red"', verdict: 'true', missing: [] },
          { text: 'price > 1.0', verdict: 'false', missing: [] },
        ],
      },
    });
    await patch({ update: [{ id: '0-0', colour: null, price: 2 }] });
    const after = (await view('0-0')).body;
    expect(after.attributes).toEqual({ price: 2 });
    const missing = after.sets.find(({ name }: { name: string }) => name === 'both');
    expect(missing).toMatchObject({ allowed: false, rule: { verdict: 'error' } });
    expect(missing.rule.parts[0]).toEqual({ text: 'colour == "red"', verdict: 'error', missing: ['colour'] });
    await patch({ remove: ['0-0'] });
    const removed = (await view('0-0')).body;
    expect(removed.removed).toBe(true);
    expect(removed.sets.every(({ reason, allowed }: never) => reason === 'removed' && !allowed)).toBe(true);
  });

  it('is a typed error where there is none', async () => {
    const unknown = await view('nobody');
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'ESP_ITEM_NOT_FOUND']);
    const inactive = await send(server, 'GET', '/v1/catalogs/shelf/items/0-0');
    expect([inactive.status, inactive.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    expect((await send(server, 'PATCH', '/v1/catalogs/shelf/items', { remove: ['x'] })).status).toBe(409);
  });
});
