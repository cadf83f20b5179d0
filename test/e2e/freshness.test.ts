import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { until } from '../helpers/build-load.js';
import { makeDataDir, makeModelsDir, type Reply, send, startTestServer } from '../helpers/server.js';
import { idsUnder, makeSmallCatalog, putRule, SETS } from '../helpers/small-server.js';

const dataDir = makeDataDir();
const file = join(dataDir, 'catalogs/small/versions/1/catalog.bin');
const CHEAP = ['0-0', '0-1', '1-0'];
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, [], makeModelsDir());
  for (const name of ['small', 'second']) await makeSmallCatalog(server, name);
  await putRule(server, 'refusing', 'price < 2.0', { refreshSeconds: 1, maxAgeSeconds: 3 });
  const serving = { refreshSeconds: 1, maxAgeSeconds: 2, whenStale: 'serve' };
  await putRule(server, 'serving', 'price < 2.0', serving);
  await putRule(server, 'still', 'price < 2.0');
});
afterAll(() => server.stop());

const read = async (set: string): Promise<Reply['body']> =>
  (await send(server, 'GET', `${SETS}/${set}`)).body;

async function metric(line: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const found = text.split('\n').find((one) => one.startsWith(`espalier_constraint_set${line} `));
  return Number(found?.split(' ').at(-1) ?? Number.NaN);
}

const recommend = (set: string) =>
  send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [], constraint: { set } });

/** The thread that evaluates rules keeps the version open; having found its file gone once, it looks for it again. */
async function letFileBeMissed(): Promise<void> {
  const activation = await send(server, 'POST', '/v1/catalogs/small/versions/1/activate');
  expect(activation.body.error.code).toBe('ESP_ARTIFACT_CORRUPT');
}

describe('a set that refreshes itself', () => {
  it('is evaluated again and again, and says when it was', async () => {
    const before = await read('refusing');
    expect(before).toMatchObject({ stale: false, refreshFailure: null, warnings: [] });
    await until(async () => (await read('refusing')).evaluatedAt > before.evaluatedAt);
    expect(await metric('_refreshes_total{outcome="succeeded"}')).toBeGreaterThan(0);
    expect((await read('refusing')).version).toBe(1);
  });

  it('keeps its last evaluation when a refresh fails, and says so', async () => {
    renameSync(file, `${file}.away`);
    await letFileBeMissed();
    await until(async () => (await read('refusing')).refreshFailure !== null);
    const failing = await read('refusing');
    expect(failing.refreshFailure.error.code).toBe('ESP_ARTIFACT_CORRUPT');
    expect(failing.refreshFailure.error.message).not.toContain(dataDir);
    expect(failing.warnings).toContain('the last refresh failed; the evaluation before it is in force');
    expect(failing).toMatchObject({ version: 1, items: 3 });
    await until(async () => (await metric('s_failing{catalog="small"}')) === 2);
    expect(await metric('s_failing{catalog="second"}')).toBe(0);
    expect(await metric('_refreshes_total{outcome="failed"}')).toBeGreaterThan(0);
    const { failure, evaluatedAt } = { failure: failing.refreshFailure, evaluatedAt: failing.evaluatedAt };
    expect(failure.at > evaluatedAt).toBe(true);
    expect(await idsUnder(server, { set: 'still' })).toEqual(CHEAP);
  });

  it('is never silently stale: it refuses, or serves what it has, as it was told', async () => {
    await until(async () => (await read('refusing')).stale && (await read('serving')).stale);
    for (const set of ['refusing', 'serving']) {
      expect((await read(set)).warnings).toContain('the evaluation is older than maxAgeSeconds');
    }
    expect(await metric('s_stale{catalog="small"}')).toBe(2);
    expect(await metric('_oldest_age_seconds{catalog="small"}')).toBeGreaterThan(3);
    const refused = await recommend('refusing');
    expect([refused.status, refused.body.error.code]).toEqual([503, 'ESP_SET_STALE']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await idsUnder(server, { set: 'serving' })).toEqual(CHEAP);
    // One that doesn't refresh itself has no age, and a request without a set asks for none.
    expect(await idsUnder(server, { set: 'still' })).toEqual(CHEAP);
    expect(await idsUnder(server)).toHaveLength(6);
  });

  it('recovers by itself when the cause is gone', async () => {
    renameSync(`${file}.away`, file);
    const isFresh = async (set: string) => {
      const { stale, refreshFailure } = await read(set);
      return !stale && refreshFailure === null;
    };
    await until(async () => (await isFresh('refusing')) && (await isFresh('serving')));
    expect(await idsUnder(server, { set: 'refusing' })).toEqual(CHEAP);
    expect(await metric('s_failing{catalog="small"}')).toBe(0);
    expect(await metric('s_stale{catalog="small"}')).toBe(0);
    expect(await metric('_oldest_age_seconds{catalog="small"}')).toBeLessThan(3);
  });
});
