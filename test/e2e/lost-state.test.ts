import { randomUUID } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { readServedCatalog } from '../../src/server/index.js';
import { makeDataDir, makeModelsDir, type Reply, send, startTestServer, upload } from '../helpers/server.js';
import {
  attributes,
  idsUnder,
  items,
  makeSmallCatalog,
  putRule,
  SETS,
  sid,
} from '../helpers/small-server.js';

const models = makeModelsDir();
const dataDir = makeDataDir();
const path = (file: string) => join(dataDir, file);
const logOf = (catalog: string) => path(`catalogs/${catalog}/changes.log`);
const recordOf = (catalog: string) => path(`catalogs/${catalog}/catalog.json`);
const without = (...ids: string[]) => items.map(({ id }) => id).filter((id) => !ids.includes(id));
const definition = { model: 'table', sid, attributes };

let server: ServerProcess;
/** Of a job whose record is damaged. */
const received = randomUUID();

const patch = (catalog: string, changes: object) =>
  send(server, 'PATCH', `/v1/catalogs/${catalog}/items`, changes);
const activate = (catalog: string, version = 1) =>
  send(server, 'POST', `/v1/catalogs/${catalog}/versions/${version}/activate`);
const recommend = (catalog: string) => send(server, 'POST', '/v1/recommend', { catalog, history: [] });
const told = ({ status, body }: Reply) => [status, body?.error?.code];
const CORRUPT = [500, 'ESP_ARTIFACT_CORRUPT'];
const reasons = async () => (await send(server, 'GET', '/readyz')).body.reasons as string[];

/** Whatever is asked of a catalog whose log is lost; what it answered before is not told any more. */
async function expectRefused(catalog: string, reason: RegExp): Promise<void> {
  expect(await reasons()).toContainEqual(expect.stringMatching(reason));
  expect(told(await recommend(catalog))).toEqual([409, 'ESP_CATALOG_INACTIVE']);
  expect(told(await patch(catalog, { remove: ['1-1'] }))).toEqual(CORRUPT);
  expect(told(await activate(catalog))).toEqual(CORRUPT);
  const { body } = await send(server, 'GET', `/v1/catalogs/${catalog}`);
  expect(body.notServed).toMatchObject({ code: 'ESP_ARTIFACT_CORRUPT' });
}

beforeAll(async () => {
  server = await startTestServer(dataDir, [], models);
  for (const name of ['small', 'gone', 'older', 'headless']) await makeSmallCatalog(server, name);
  for (const name of ['small', 'gone', 'older']) await patch(name, { remove: ['0-0'] });
  copyFileSync(logOf('older'), path('older.log'));
  await patch('older', { remove: ['0-1'] });
  expect((await upload(server, 'older', items)).state).toBe('succeeded');
  expect((await upload(server, 'headless', items, false)).state).toBe('succeeded');
  await putRule(server, 'red', 'colour == "red"');
  await server.stop();

  renameSync(logOf('gone'), path('gone.log'));
  renameSync(logOf('older'), path('newer.log'));
  copyFileSync(path('older.log'), logOf('older'));
  // As an earlier server wrote it.
  const { hasChangeLog, ...record } = JSON.parse(readFileSync(recordOf('small'), 'utf8'));
  writeFileSync(recordOf('small'), JSON.stringify(record));
  for (const version of [1, 2]) {
    renameSync(path(`catalogs/headless/versions/${version}/version.json`), path(`${version}.json`));
  }
  mkdirSync(path('uploads'), { recursive: true });
  writeFileSync(path(`uploads/${received}`), JSON.stringify(items[0]));
  writeFileSync(path(`jobs/${randomUUID()}.json`), 'null');
  server = await startTestServer(dataDir, [], models);
});
afterAll(() => server.stop());

describe('a start', () => {
  it('serves no catalog whose log of changes is gone, until it is back', async () => {
    // Nor do commands that read the directory beside the server.
    await expect(readServedCatalog(dataDir, 'gone')).rejects.toThrow(
      /^changes.log of catalog gone: expected the file that changes were written to, found no file/,
    );
    await expectRefused('gone', /^catalog gone is not served: ESP_ARTIFACT_CORRUPT: changes.log /);
    renameSync(path('gone.log'), logOf('gone'));
    expect((await activate('gone')).status).toBe(200);
    expect(await idsUnder(server, {}, 'gone')).toEqual(without('0-0'));
  });

  it('serves no catalog whose log ends before what its versions have in them', async () => {
    await expectRefused(
      'older',
      /^catalog older is not served: .*expected changes up to 2, found none behind 1/,
    );
    copyFileSync(path('newer.log'), logOf('older'));
    expect((await activate('older', 2)).status).toBe(200);
    expect((await patch('older', { remove: ['1-1'] })).status).toBe(200);
    expect(await idsUnder(server, {}, 'older')).toEqual(without('1-1'));
  });

  it('takes over a catalog of an earlier server, and notes that it has a log', async () => {
    expect(await idsUnder(server)).toEqual(without('0-0'));
    expect(JSON.parse(readFileSync(recordOf('small'), 'utf8'))).toHaveProperty('hasChangeLog', true);
  });

  it('deletes no version whose record is gone, and serves it when the record is back', async () => {
    for (const version of [1, 2]) {
      expect(existsSync(path(`catalogs/headless/versions/${version}/catalog.bin`))).toBe(true);
    }
    expect(await reasons()).toContainEqual(
      expect.stringMatching(/^catalog headless is not served: ESP_ARTIFACT_CORRUPT: version 1 /),
    );
    const { body } = await send(server, 'GET', '/v1/catalogs/headless');
    expect(body.damagedVersions).toMatchObject([{ version: 1, error: { code: 'ESP_ARTIFACT_CORRUPT' } }]);
    expect(told(await activate('headless'))).toEqual(CORRUPT);
    expect(told(await send(server, 'PUT', '/v1/catalogs/headless', definition))).toEqual(CORRUPT);
    for (const version of [1, 2]) {
      renameSync(path(`${version}.json`), path(`catalogs/headless/versions/${version}/version.json`));
      expect((await activate('headless', version)).body).toMatchObject({ activeVersion: version });
    }
    expect(await idsUnder(server, {}, 'headless')).toEqual(without());
  });

  it('keeps uploads, while a job cannot be read that may need them', () => {
    expect(existsSync(path(`uploads/${received}`))).toBe(true);
  });
});

describe('a server', () => {
  it('changes no set whose rule could not be put in force: the record of the version is gone', async () => {
    const record = path('catalogs/small/versions/1/version.json');
    renameSync(record, path('away.json'));
    expect(told(await putRule(server, 'red', 'colour == "blue"'))).toEqual(CORRUPT);
    expect(told(await putRule(server, 'new', 'colour == "blue"'))).toEqual(CORRUPT);
    expect(told(await send(server, 'POST', `${SETS}/red/activate`, { version: 1 }))).toEqual(CORRUPT);
    expect(told(await patch('small', { remove: ['1-1'] }))).toEqual(CORRUPT);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['1-0']);
    renameSync(path('away.json'), record);
    expect((await send(server, 'GET', `${SETS}/red`)).body.version).toBe(1);
    expect((await putRule(server, 'red', 'colour == "blue"')).status).toBe(200);
    expect(await idsUnder(server, { set: 'red' })).toEqual(without('0-0', '1-0'));
  });

  it('is not ready once it does not serve a catalog, says so, and serves it again when the log is sound', async () => {
    const sound = readFileSync(logOf('small'));
    const damaged = Buffer.from(sound);
    damaged[20] ^= 1;
    writeFileSync(logOf('small'), damaged);
    expect(told(await patch('small', { remove: ['0-1'] }))).toEqual(CORRUPT);
    await expectRefused('small', /^catalog small is not served: ESP_ARTIFACT_CORRUPT: changes.log, line 1/);
    expect(told(await send(server, 'PUT', '/v1/catalogs/small', definition))).toEqual(CORRUPT);
    rmSync(logOf('small'));
    expect(told(await activate('small'))).toEqual(CORRUPT);
    writeFileSync(logOf('small'), sound);
    const { status, body } = await send(server, 'PUT', '/v1/catalogs/small', definition);
    expect([status, body.notServed]).toEqual([200, undefined]);
    expect(await idsUnder(server)).toEqual(without('0-0'));
    expect((await patch('small', { remove: ['1-1'] })).body.removed).toBe(1);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['0-1', '0-2', '1-2']);
    expect(await reasons()).toEqual([]);
  });
});
