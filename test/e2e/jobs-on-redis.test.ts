import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { QUEUE, queuePrefix } from '../../src/server/jobs/bullmq/naming.js';
import { manyItems, post, putSmall, until } from '../helpers/build-load.js';
import { call, healthClient } from '../helpers/grpc.js';
import { noRedis, TestRedis } from '../helpers/redis.js';
import {
  endOf,
  makeDataDir,
  makeModelsDir,
  send,
  startTestServer,
  unbatched,
  upload,
} from '../helpers/server.js';
import { startWorkerProcess } from '../helpers/worker-process.js';

const models = makeModelsDir();
const many = manyItems(150_000);
const item = '{"id": "a", "sid": [0, 0]}';
/** A second, with room for a machine that is busy. */
const REFUSAL_LIMIT_MS = 3_000;
let redis: TestRedis;

beforeAll(async () => {
  if (noRedis === undefined) redis = await TestRedis.start();
});
afterAll(() => redis?.remove());

/** A server with a catalog; `builds`: how many it runs itself. */
async function start(builds: number, dataDir = makeDataDir()) {
  const options = ['--redis-url', redis.url, '--build-concurrency', String(builds), ...unbatched];
  const server = await startTestServer(dataDir, options, models);
  await until(async () => (await degraded(server)).length === 0);
  return { server, dataDir };
}

/** What `/readyz` says of Redis. */
async function degraded(server: ServerProcess): Promise<string[]> {
  return (await send(server, 'GET', '/readyz')).body.degraded;
}

async function redisUp(server: ServerProcess): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^espalier_redis_up (\d)$/m.exec(text)?.[1]);
}

/** The work that waits in Redis for whoever comes. */
async function waitingIn(dataDir: string): Promise<string[]> {
  const client = new Redis(redis.url);
  const { id } = JSON.parse(readFileSync(join(dataDir, 'data-dir.json'), 'utf8')) as { id: string };
  const waiting = await client.lrange(`${queuePrefix(id)}:${QUEUE}:wait`, 0, -1);
  client.disconnect();
  return waiting;
}

async function stateOf(server: ServerProcess, id: string): Promise<string> {
  return (await send(server, 'GET', `/v1/jobs/${id}`)).body.job.state;
}

describe.skipIf(noRedis !== undefined)(`jobs on Redis${noRedis ? ` (${noRedis})` : ''}`, () => {
  it('wait for a worker process, report their progress, and are finished in the server', async () => {
    const { server, dataDir } = await start(0);
    await putSmall(server);
    const { body } = await post(server, many);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await stateOf(server, body.job.id)).toBe('queued');
    const worker = await startWorkerProcess(dataDir, redis.url);
    const events = await (await fetch(`${server.url}/v1/jobs/${body.job.id}/events`)).text();
    expect(events).toContain('"phase":"parsing"');
    expect(await endOf(server, body.job.id)).toMatchObject({
      state: 'succeeded',
      result: { items: 150_000 },
    });
    expect((await send(server, 'GET', '/v1/catalogs/small')).body.activeVersion).toBe(1);
    const bad = await upload(server, 'small', ['{"id": "a", "sid": [9, 0]}']);
    expect(bad.error).toMatchObject({ code: 'ESP_UPLOAD_INVALID', details: [{ line: 1, field: 'sid[0]' }] });
    const more = { add: [{ id: 'more', sid: [0, 0] }] };
    const added = await send(server, 'PATCH', '/v1/catalogs/small/items', more);
    expect(await endOf(server, added.body.job.id)).toMatchObject({ result: { items: 150_001 } });
    const list = `${server.url}/v1/catalogs/small/constraint-sets/few/versions?activate=true`;
    const headers = { 'content-type': 'application/x-ndjson' };
    const listed = await (await fetch(list, { method: 'POST', headers, body: '"more"' })).json();
    expect(await endOf(server, (listed as typeof added.body).job.id)).toMatchObject({ result: { items: 1 } });
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
    expect(await worker.stop()).toBe(0);
    await server.stop();
  });

  it('are built by another worker when kill -9 ends one in the middle of it', async () => {
    const { server, dataDir } = await start(0);
    await putSmall(server);
    const first = await startWorkerProcess(dataDir, redis.url);
    const { body } = await post(server, many);
    await until(async () => (await stateOf(server, body.job.id)) === 'running');
    await first.kill();
    const second = await startWorkerProcess(dataDir, redis.url);
    expect(await endOf(server, body.job.id)).toMatchObject({ state: 'succeeded' });
    expect(await second.stop()).toBe(0);
    await server.stop();
  });

  it('are handed back by a worker at SIGTERM, at once, and cancelled across processes', async () => {
    const { server, dataDir } = await start(0);
    await putSmall(server);
    const first = await startWorkerProcess(dataDir, redis.url);
    const { body } = await post(server, many);
    await until(async () => (await stateOf(server, body.job.id)) === 'running');
    expect(await first.stop()).toBe(0);
    // It waits again, and not for a lock to run out.
    expect(await waitingIn(dataDir)).toEqual([body.job.id]);
    const second = await startWorkerProcess(dataDir, redis.url);
    const other = await post(server, many);
    expect(await endOf(server, body.job.id)).toMatchObject({ state: 'succeeded' });
    await until(async () => (await stateOf(server, other.body.job.id)) === 'running');
    expect((await send(server, 'DELETE', `/v1/jobs/${other.body.job.id}`)).body.job.state).toBe('cancelled');
    await until(() => readdirSync(join(dataDir, 'uploads')).length === 0);
    expect(readdirSync(join(dataDir, `catalogs/small/versions/${other.body.version}`))).toEqual([]);
    expect((await upload(server, 'small', [item])).state).toBe('succeeded');
    await second.stop();
    await server.stop();
  });

  it('go on when the server was killed meanwhile', async () => {
    const { server, dataDir } = await start(0);
    await putSmall(server);
    const { body } = await post(server, many, { headers: { 'idempotency-key': 'k' } });
    server.process.kill('SIGKILL');
    const worker = await startWorkerProcess(dataDir, redis.url);
    const { server: next } = await start(0, dataDir);
    const again = await post(next, many, { headers: { 'idempotency-key': 'k' } });
    expect(again.body).toMatchObject({ version: body.version, job: { id: body.job.id } });
    expect(await endOf(next, body.job.id)).toMatchObject({ state: 'succeeded' });
    await worker.stop();
    await next.stop();
  });

  it('of servers with other data directories never meet', async () => {
    const [one, two] = [await start(0), await start(1)];
    await putSmall(one.server);
    await putSmall(two.server);
    const waits = (await post(one.server, item)).body.job.id;
    expect((await upload(two.server, 'small', [item])).state).toBe('succeeded');
    expect(await stateOf(one.server, waits)).toBe('queued');
    await one.server.stop();
    await two.server.stop();
  });
});

describe.skipIf(noRedis !== undefined)('while Redis is gone', () => {
  let own: TestRedis;
  beforeAll(async () => {
    own = await TestRedis.start();
  });
  afterAll(() => own.remove());

  it('uploads answer 503, recommending goes on, and what was accepted is built when it is back', async () => {
    const dataDir = makeDataDir();
    const options = ['--redis-url', own.url, '--build-concurrency', '0', '--grpc-port', '0', ...unbatched];
    const server = await startTestServer(dataDir, options, models);
    await putSmall(server);
    const worker = await startWorkerProcess(dataDir, own.url);
    expect((await upload(server, 'small', [item])).state).toBe('succeeded');
    await worker.stop();
    const accepted = (await post(server, many)).body.job.id;
    await own.stop();
    await until(async () => (await degraded(server)).length > 0);
    // Load balancers leave the server where it is.
    const { status, body } = await send(server, 'GET', '/readyz');
    const reason = `Redis at ${own.url} does not answer; uploads are refused`;
    expect([status, body]).toEqual([200, { status: 'ready', reasons: [], degraded: [reason] }]);
    expect((await send(server, 'GET', '/v2/health/ready')).status).toBe(200);
    const health = healthClient(server.grpcAddress!);
    expect((await call(health, 'Check', {})).value).toEqual({ status: 'SERVING' });
    health.close();
    expect(await redisUp(server)).toBe(0);
    await expectRefused(server, dataDir);
    const answer = await send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
    expect([answer.status, answer.body.items.length]).toEqual([200, 1]);
    expect((await send(server, 'GET', `/v1/jobs/${accepted}`)).body.job.state).toBe('queued');

    await own.start();
    await until(async () => (await degraded(server)).length === 0);
    const second = await startWorkerProcess(dataDir, own.url);
    expect(await redisUp(server)).toBe(1);
    // This Redis has lost what it had.
    expect(await endOf(server, accepted)).toMatchObject({ state: 'succeeded' });
    expect((await upload(server, 'small', [item])).state).toBe('succeeded');

    own.signal('SIGSTOP');
    await until(async () => (await degraded(server)).length > 0);
    await expectRefused(server, dataDir);
    own.signal('SIGCONT');
    await until(async () => (await degraded(server)).length === 0);
    expect((await upload(server, 'small', [item])).state).toBe('succeeded');

    const interrupted = (await post(server, many)).body.job.id;
    await until(async () => (await stateOf(server, interrupted)) === 'running');
    await own.stop();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await own.start();
    expect(await endOf(server, interrupted)).toMatchObject({ state: 'succeeded' });
    expect(await second.stop()).toBe(0);
    await server.stop();
  });

  it('a server starts and says so; a worker ends and says why', async () => {
    await own.stop();
    const dataDir = makeDataDir();
    const server = await startTestServer(dataDir, ['--redis-url', own.url, ...unbatched], models);
    expect(await degraded(server)).toEqual([`Redis at ${own.url} does not answer; uploads are refused`]);
    await expect(startWorkerProcess(dataDir, own.url)).rejects.toThrow(
      /ended with code 1:\nespalier: ESP_REDIS_UNAVAILABLE: Redis at .* does not answer/,
    );
    await expect(startWorkerProcess(makeDataDir(), own.url)).rejects.toThrow(/ESP_DATA_DIR: .*data-dir.json/);
    await expect(startWorkerProcess('/nowhere/to/be/found', own.url)).rejects.toThrow(
      /ESP_DATA_DIR: there is no folder/,
    );
    await own.start();
    await putSmall(server);
    await until(async () => (await degraded(server)).length === 0);
    expect((await upload(server, 'small', [item])).state).toBe('succeeded');
    await own.stop();
    await server.stop();
    await own.start();
  });

  it.each(['is gone', 'hangs'] as const)('a stop does not wait for a Redis that %s', async (how) => {
    const { url } = own;
    const server = await startTestServer(makeDataDir(), ['--redis-url', url, ...unbatched], models);
    await until(async () => (await degraded(server)).length === 0);
    if (how === 'is gone') await own.stop();
    else own.signal('SIGSTOP');
    const startMs = performance.now();
    await server.stop();
    expect(server.process.exitCode).toBe(0);
    // BullMQ by itself takes 5 s for each of the two.
    expect(performance.now() - startMs).toBeLessThan(5_000);
    if (how === 'is gone') await own.start();
    else own.signal('SIGCONT');
  });
});

/** Soon, where BullMQ by itself would wait for ever; and with nothing left behind. */
async function expectRefused(server: ServerProcess, dataDir: string): Promise<void> {
  const left = readdirSync(join(dataDir, 'uploads'));
  const startMs = performance.now();
  const { status, headers, body } = await post(server, item);
  expect(performance.now() - startMs).toBeLessThan(REFUSAL_LIMIT_MS);
  expect([status, body.error.code]).toEqual([503, 'ESP_REDIS_UNAVAILABLE']);
  expect(headers.get('retry-after')).toBe('1');
  expect(readdirSync(join(dataDir, 'uploads'))).toEqual(left);
}

describe('the options for Redis', () => {
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const run = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  const serve = (...args: string[]) =>
    run('serve', '--data-dir', 'd', '--models-dir', 'm', '--check-config', ...args);

  it('are checked, and no password is printed', () => {
    expect(JSON.parse(serve().stdout)).not.toHaveProperty('redisUrl');
    const good = serve('--redis-url', 'redis://user:secret@host:6379/1', '--build-concurrency', '0');
    expect(JSON.parse(good.stdout)).toMatchObject({
      redisUrl: 'redis://***@host:6379/1',
      buildConcurrency: 0,
    });
    const wrong = serve('--redis-url', 'http://user:secret@host:6379');
    expect([wrong.status, wrong.stderr]).toEqual([
      2,
      expect.stringContaining('--redis-url: redisUrl: expected a URL such as redis://host:6379'),
    ]);
    expect(wrong.stderr + good.stdout).not.toContain('secret');
    const nobody = serve('--build-concurrency', '0');
    expect([nobody.status, nobody.stderr]).toEqual([
      2,
      expect.stringContaining('--build-concurrency: buildConcurrency: expected at least 1'),
    ]);
    expect(run('worker', '--help').stdout).toContain('Usage: espalier worker');
    expect(run('worker', '--data-dir', 'd').stderr).toContain('--redis-url: expected a value, found nothing');
    const worker = run('worker', '--data-dir', 'd', '--redis-url', 'http://user:secret@host');
    expect([worker.status, worker.stderr.includes('secret')]).toEqual([2, false]);
  });
});
