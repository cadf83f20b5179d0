import { existsSync, readdirSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail, readShoppers } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { until } from '../helpers/build-load.js';
import { comparable, NDJSON, outputOf, postBulkJob } from '../helpers/bulk-load.js';
import { endOf, kill, makeDataDir, makeModelsDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule, SETS } from '../helpers/small-server.js';

const dataDir = makeDataDir();
const models = makeModelsDir();
const options = ['--bulk-chunk-requests', '100', '--keep-bulk-outputs', '1', '--body-limit-bytes', '4096'];
/** Some of these start many engines; a test run has twelve minutes. */
const IS_LONG = process.env.LONG_TESTS !== undefined;
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, options, models);
  await makeSmallCatalog(server);
  await putRule(server, 'red', 'colour == "red"');
});
afterAll(() => server.stop());

const good = { catalog: 'small', history: ['0-0'], k: 3, beamWidth: 3 };
const folderOf = (id: string) => join(dataDir, 'bulk', id);
const answersOf = (requests: readonly object[]) =>
  Promise.all(requests.map(async (one) => (await send(server, 'POST', '/v1/recommend', one)).body));
const doneChunks = (id: string) =>
  existsSync(folderOf(id)) ? readdirSync(folderOf(id)).filter((name) => /^out-\d+\.json$/.test(name)) : [];

describe('a bulk job', () => {
  it('answers as single requests are answered, over the retail data', async () => {
    await loadRetail(server.url);
    const shoppers = (await readShoppers()).slice(0, 120);
    const requests = shoppers.map(({ history }, index) => ({
      catalog: 'retail',
      history,
      k: 1 + (index % 5),
      beamWidth: 10 + (index % 3),
      constraint: [{}, { set: 'christmas' }, { filter: 'price < 2.0' }][index % 3],
      timeoutMs: 120_000,
    }));
    const { status, body } = await postBulkJob(server, requests);
    expect([status, body.job.kind]).toEqual([202, 'bulk-recommendations']);
    const job = await endOf(server, body.job.id);
    expect(job).toMatchObject({
      state: 'succeeded',
      result: {
        requests: 120,
        answered: 120,
        failed: 0,
        versions: [{ catalog: 'retail', version: 1, constraintSets: [{ name: 'christmas', version: 1 }] }],
        output: `/v1/bulk-recommendations/jobs/${job.id}/output`,
      },
    });
    const lines = await outputOf(server, job.id);
    expect(lines.map(({ line }) => line)).toEqual(requests.map((_, index) => index + 1));
    expect(lines.map(comparable)).toEqual((await answersOf(requests)).map(comparable));
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
    expect(readdirSync(folderOf(job.id)).some((name) => name.startsWith('pin'))).toBe(false);
  });

  it('gives bad lines their errors, and succeeds', async () => {
    const bad = [
      '{"catalog": ',
      '{"catalog": "small", "history": [], "constrain": {}}',
      `"${'x'.repeat(5_000)}"`,
      '{"catalog": "nowhere", "history": []}',
      '{"catalog": "small", "history": [], "constraint": {"set": "none"}}',
      `${'['.repeat(1_000)}${']'.repeat(1_000)}`,
    ];
    const text = bad.map((line) => `${line}\n\n${JSON.stringify(good)}\n`).join('');
    const packed = await postBulkJob(server, gzipSync(text), { ...NDJSON, 'content-encoding': 'gzip' });
    const job = await endOf(server, packed.body.job.id);
    expect(job).toMatchObject({ state: 'succeeded', result: { requests: 12, answered: 6, failed: 6 } });
    const lines = await outputOf(server, job.id);
    expect(lines.map(({ line }) => line)).toEqual(bad.flatMap((_, index) => [3 * index + 1, 3 * index + 3]));
    expect(lines.filter(({ error }) => error).map(({ error }) => error?.code)).toEqual([
      'ESP_BODY_MALFORMED',
      'ESP_REQUEST_INVALID',
      'ESP_BODY_TOO_LARGE',
      'ESP_CATALOG_NOT_FOUND',
      'ESP_SET_NOT_FOUND',
      'ESP_REQUEST_INVALID',
    ]);
    for (const index of [1, 3, 4]) {
      const alone = (await send(server, 'POST', '/v1/recommend', bad[index])).body;
      expect(lines[2 * index]).toEqual({ line: 3 * index + 1, ...alone });
    }
  });

  it.runIf(IS_LONG)('goes on after kill -9 where it was, under what was active when it began', async () => {
    const requests = Array.from({ length: 400 }, (_, index) => ({
      ...good,
      k: 1 + (index % 3),
      constraint: index % 2 === 0 ? {} : { set: 'red' },
    }));
    const expected = await answersOf(requests);
    const { id } = (await postBulkJob(server, requests, { ...NDJSON, 'idempotency-key': 'bulk' })).body.job;
    await until(() => doneChunks(id).length >= 1);
    // Neither another rule nor an item that goes changes what the job answers.
    await putRule(server, 'red', 'colour == "blue"');
    await send(server, 'PATCH', '/v1/catalogs/small/items', { remove: ['0-0'] });
    await kill(server);
    const before = doneChunks(id);
    expect(before.length).toBeLessThan(4);
    const written = before.map((name) => statSync(join(folderOf(id), name)).mtimeMs);
    server = await startTestServer(dataDir, options, models);
    const again = await postBulkJob(server, requests, { ...NDJSON, 'idempotency-key': 'bulk' });
    expect(again.body.job.id).toBe(id);
    expect(await endOf(server, id)).toMatchObject({
      state: 'succeeded',
      result: { answered: 400, failed: 0 },
    });
    expect(before.map((name) => statSync(join(folderOf(id), name)).mtimeMs)).toEqual(written);
    expect((await outputOf(server, id)).map(comparable)).toEqual(expected.map(comparable));
    expect((await answersOf([requests[1]])).map(comparable)).not.toEqual([comparable(expected[1])]);
    await send(server, 'DELETE', SETS);
  });

  it('tells how far it is', async () => {
    const requests = Array.from({ length: 300 }, () => good);
    const { id } = (await postBulkJob(server, requests)).body.job;
    const seen: { state: string; phase: string; fraction: number }[] = [];
    await until(async () => {
      seen.push((await send(server, 'GET', `/v1/jobs/${id}`)).body.job);
      return !['queued', 'running'].includes(seen.at(-1)!.state);
    }, 100_000);
    expect(seen.at(-1)).toMatchObject({ state: 'succeeded', phase: 'done', fraction: 1 });
    const fractions = seen.flatMap(({ phase, fraction }) => (phase === 'answering' ? [fraction] : []));
    expect(new Set(fractions.filter((fraction) => fraction > 0 && fraction < 1)).size).toBeGreaterThan(0);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  });

  it('is cancelled, and leaves nothing', async () => {
    const { id } = (
      await postBulkJob(
        server,
        Array.from({ length: 2_000 }, () => good),
      )
    ).body.job;
    await until(() => doneChunks(id).length >= 1);
    expect((await fetch(`${server.url}/v1/bulk-recommendations/jobs/${id}/output`)).status).toBe(404);
    expect((await send(server, 'DELETE', `/v1/jobs/${id}`)).status).toBe(200);
    await until(() => !existsSync(folderOf(id)) && readdirSync(join(dataDir, 'uploads')).length === 0);
  });
});

describe('outputs of bulk jobs', () => {
  it.runIf(IS_LONG)('are deleted when asked, and the oldest when there are too many', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 2; count++) {
      const { id } = (await postBulkJob(server, [good])).body.job;
      await endOf(server, id);
      ids.push(id);
    }
    expect(ids.map((id) => existsSync(folderOf(id)))).toEqual([false, true]);
    const path = (id: string) => `/v1/bulk-recommendations/jobs/${id}/output`;
    expect((await send(server, 'DELETE', path(ids[1]))).status).toBe(204);
    expect(existsSync(folderOf(ids[1]))).toBe(false);
    for (const [method, id] of [
      ['GET', ids[0]],
      ['GET', ids[1]],
      ['DELETE', ids[1]],
    ]) {
      const gone = await send(server, method, path(id));
      expect([gone.status, gone.body.error.code]).toEqual([404, 'ESP_OUTPUT_NOT_FOUND']);
    }
    const unknown = await send(server, 'GET', path(crypto.randomUUID()));
    expect([unknown.status, unknown.body.error.code]).toEqual([404, 'ESP_JOB_NOT_FOUND']);
  });
});

describe('an upload of requests that is none', () => {
  it('gets a typed error', async () => {
    for (const empty of ['', '\n \n\r\n']) {
      const { body } = await postBulkJob(server, empty);
      expect(await endOf(server, body.job.id)).toMatchObject({
        state: 'failed',
        error: { code: 'ESP_UPLOAD_EMPTY' },
      });
    }
    const wrong = await postBulkJob(server, '{}', { 'content-type': 'application/json' });
    expect([wrong.status, wrong.body.error.code]).toEqual([415, 'ESP_MEDIA_TYPE']);
    const none = await send(server, 'POST', '/v1/bulk-recommendations/jobs');
    expect([none.status, none.body.error.code]).toEqual([415, 'ESP_MEDIA_TYPE']);
    const { body } = await postBulkJob(server, '{}', { ...NDJSON, 'content-encoding': 'gzip' });
    expect((await endOf(server, body.job.id)).error.code).toBe('ESP_UPLOAD_INVALID');
  });

  it('that ends in the middle leaves nothing', async () => {
    const jobs = (await send(server, 'GET', '/v1/jobs')).body.jobs.length;
    const url = `${server.url}/v1/bulk-recommendations/jobs`;
    const half = request(url, { method: 'POST', headers: { ...NDJSON, 'content-length': '10000' } });
    half.on('error', () => {});
    half.write(`${JSON.stringify(good)}\n`);
    await until(() => readdirSync(join(dataDir, 'uploads')).length === 1);
    half.destroy();
    await until(() => readdirSync(join(dataDir, 'uploads')).length === 0);
    expect((await send(server, 'GET', '/v1/jobs')).body.jobs).toHaveLength(jobs);
  });
});
