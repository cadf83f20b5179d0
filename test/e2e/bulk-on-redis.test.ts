import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { until } from '../helpers/build-load.js';
import { comparable, outputOf, postBulkJob } from '../helpers/bulk-load.js';
import { noRedis, TestRedis } from '../helpers/redis.js';
import { endOf, makeDataDir, makeModelsDir, send, startTestServer, upload } from '../helpers/server.js';
import { attributes, items, sid } from '../helpers/small-server.js';
import { startWorkerProcess, type WorkerProcess } from '../helpers/worker-process.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
const good = { catalog: 'small', history: ['0-0'], k: 3, beamWidth: 3 };
let redis: TestRedis;
let server: ServerProcess;

beforeAll(async () => {
  if (noRedis !== undefined) return;
  redis = await TestRedis.start();
  const options = ['--redis-url', redis.url, '--build-concurrency', '0', '--bulk-chunk-requests', '20'];
  server = await startTestServer(dataDir, options, models);
  await until(
    async () =>
      (await send(server, 'PUT', '/v1/catalogs/small', { model: 'table', sid, attributes })).status < 300,
  );
});
afterAll(async () => {
  await server?.stop();
  await redis?.remove();
});

/** Whether the worker has a process that works right now. */
function isWorking({ process: { pid } }: WorkerProcess): boolean {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim() !== '';
}

describe.skipIf(noRedis !== undefined)('a bulk job on Redis', () => {
  it('is left to a worker that has models, by one that builds without any', async () => {
    const builder = await startWorkerProcess(dataDir, redis.url);
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    const { id } = (await postBulkJob(server, [good])).body.job;
    // The builder has seen the job by then, and goes on with its own.
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    expect(['queued', 'running']).toContain((await send(server, 'GET', `/v1/jobs/${id}`)).body.job.state);
    const worker = await startWorkerProcess(dataDir, redis.url, ['--models-dir', models]);
    expect(await endOf(server, id)).toMatchObject({ state: 'succeeded', result: { answered: 1 } });
    await Promise.all([builder.stop(), worker.stop()]);
  });

  it('is shared by the workers, and answers as the server does', async () => {
    const start = () => startWorkerProcess(dataDir, redis.url, ['--models-dir', models]);
    const workers = await Promise.all([start(), start()]);
    const requests = Array.from({ length: 120 }, (_, index) => ({ ...good, k: 1 + (index % 3) }));
    const { id } = (await postBulkJob(server, requests)).body.job;
    await until(() => workers.every(isWorking), 60_000);
    expect(await endOf(server, id)).toMatchObject({
      state: 'succeeded',
      result: { answered: 120, failed: 0 },
    });
    const lines = await outputOf(server, id);
    for (const index of [0, 50, 119]) {
      const alone = (await send(server, 'POST', '/v1/recommend', requests[index])).body;
      expect(comparable(lines[index])).toEqual(comparable(alone));
    }
    expect(lines.map(({ line }) => line)).toEqual(requests.map((_, index) => index + 1));
    await Promise.all(workers.map((worker) => worker.stop()));
  });
});
