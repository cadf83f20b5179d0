import { readdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { manyItems, post, putSmall, until } from '../helpers/build-load.js';
import { endOf, makeDataDir, makeModelsDir, send, startTestServer } from '../helpers/server.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
const many = manyItems(150_000);
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, [], models);
  await putSmall(server);
});
afterAll(() => server.stop());

const job = async (id: string) => (await send(server, 'GET', `/v1/jobs/${id}`)).body.job;

/** The events of a job as they come. */
async function events(id: string, signal?: AbortSignal) {
  const response = await fetch(`${server.url}/v1/jobs/${id}/events`, { ...(signal && { signal }) });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  return response;
}

describe('a job', () => {
  it('is cancelled while it waits and while it runs, and leaves nothing', async () => {
    const [runs, waits] = [(await post(server, many)).body, (await post(server, many)).body];
    await until(async () => (await job(runs.job.id)).state === 'running');
    for (const { id } of [waits.job, runs.job]) {
      const { status, body } = await send(server, 'DELETE', `/v1/jobs/${id}`);
      expect([status, body.job.state, body.job.error.code]).toEqual([200, 'cancelled', 'ESP_CANCELLED']);
      const again = await send(server, 'DELETE', `/v1/jobs/${id}`);
      expect([again.status, again.body.error.code]).toEqual([409, 'ESP_JOB_ENDED']);
    }
    await until(() => readdirSync(join(dataDir, 'uploads')).length === 0);
    for (const { version } of [runs, waits]) {
      expect(readdirSync(join(dataDir, `catalogs/small/versions/${version}`))).toEqual([]);
    }
    const next = await post(server, '{"id": "a", "sid": [0, 0]}');
    expect(await endOf(server, next.body.job.id)).toMatchObject({ state: 'succeeded' });
    const unknown = await send(server, 'DELETE', `/v1/jobs/${crypto.randomUUID()}`);
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'ESP_JOB_NOT_FOUND']);
  });

  it('tells how it goes on as server-sent events', async () => {
    const { body } = await post(server, many);
    const text = await (await events(body.job.id)).text();
    const told = Array.from(text.matchAll(/^event: job\ndata: (.*)$/gm), ([, data]) => JSON.parse(data).job);
    expect(told.at(-1)).toEqual(await job(body.job.id));
    expect(told.at(-1)).toMatchObject({ state: 'succeeded', catalog: 'small', version: body.version });
    const phases = new Set(told.map(({ phase }) => phase));
    for (const phase of ['parsing', 'writing', 'activating', 'done']) expect(phases).toContain(phase);
    expect(told.every((one) => !('payload' in one))).toBe(true);
    const ended = await (await events(body.job.id)).text();
    expect(ended).toBe(`event: job\ndata: ${JSON.stringify({ job: told.at(-1) })}\n\n`);
    expect((await send(server, 'GET', `/v1/jobs/${crypto.randomUUID()}/events`)).status).toBe(404);
  });

  it('goes on when who listened goes away, and ends its events at a shutdown', async () => {
    const { body } = await post(server, many);
    const abort = new AbortController();
    const left = await events(body.job.id, abort.signal);
    await left.body!.getReader().read();
    abort.abort();
    expect(await endOf(server, body.job.id)).toMatchObject({ state: 'succeeded' });
    const later = await post(server, many);
    const listening = await events(later.body.job.id);
    await until(async () => (await job(later.body.job.id)).state === 'running');
    const startMs = performance.now();
    await server.stop();
    expect(await listening.text()).toContain('"state":"running"');
    // Neither the stream nor the build is waited for: the build goes on at the next start.
    expect(performance.now() - startMs).toBeLessThan(3_000);
    server = await startTestServer(dataDir, [], models);
    expect(await endOf(server, later.body.job.id)).toMatchObject({ state: 'succeeded' });
    expect((await send(server, 'GET', '/v1/catalogs/small')).body.activeVersion).toBe(later.body.version);
  });
});

describe('an upload with an Idempotency-Key', () => {
  it('is one job, however often it is sent', async () => {
    const headers = { 'idempotency-key': 'key-1' };
    const lines = '{"id": "a", "sid": [0, 0]}';
    const first = await post(server, lines, { headers });
    expect(first.status).toBe(202);
    const ended = await endOf(server, first.body.job.id);
    const again = await post(server, lines, { headers });
    expect([again.status, again.body]).toEqual([202, { job: ended, version: first.body.version }]);
    const other = await post(server, lines, { headers, query: '?activate=false' });
    expect([other.status, other.body.error.code]).toEqual([409, 'ESP_IDEMPOTENCY_KEY']);
    const bad = await post(server, lines, { headers: { 'idempotency-key': 'a b' } });
    expect([bad.status, bad.body.error.code]).toEqual([400, 'ESP_REQUEST_INVALID']);
    const { body } = await send(server, 'GET', '/v1/catalogs/small/versions');
    expect(body.versions.at(-1).version).toBe(first.body.version);
  });

  it('is refused for a while where the first one is still being received', async () => {
    const headers = { 'idempotency-key': 'key-2', 'content-type': 'application/x-ndjson' };
    const url = `${server.url}/v1/catalogs/small/versions?activate=true`;
    const receiving = request(url, { method: 'POST', headers });
    const answered = new Promise<number>((resolve) => {
      receiving.on('response', (response) => resolve(response.resume().statusCode!));
    });
    receiving.write('{"id": "a", "sid": [0, 0]}\n');
    await until(() => readdirSync(join(dataDir, 'uploads')).length === 1);
    const second = await post(server, '{"id": "a", "sid": [0, 0]}', { headers });
    expect([second.status, second.body.error.code]).toEqual([409, 'ESP_IDEMPOTENCY_KEY']);
    expect(second.headers.get('retry-after')).toBe('1');
    receiving.end();
    expect(await answered).toBe(202);
    expect((await post(server, '{"id": "a", "sid": [0, 0]}', { headers })).status).toBe(202);
    expect(readdirSync(join(dataDir, 'jobs')).length).toBeGreaterThan(0);
  });
});
