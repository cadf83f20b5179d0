import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerProcess, startServerProcess } from '../../examples/online-retail/server-process.js';
import { postBulkJob } from '../helpers/bulk-load.js';
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

const models = makeModelsDir();
const dataDir = makeDataDir();
/** A busy machine must not refuse for another reason. */
const OPTIONS = ['--models-dir', models, '--max-event-loop-delay-ms', '0'];
const path = (file: string) => join(dataDir, file);
const ALL = items.map(({ id }) => id).sort();
const request = { catalog: 'small', history: [], k: 6 };

let server: ServerProcess;
let log = '';
/** Of bulk jobs: one whose result is damaged, one whose own file is. */
let jobs: string[];

/** A version with the items of version 1, as another upload of them would be. */
function copyVersion(catalog: string, version: number): void {
  const folder = path(`catalogs/${catalog}/versions`);
  cpSync(`${folder}/1`, `${folder}/${version}`, { recursive: true });
  writeRecord(catalog, version);
}

function writeRecord(catalog: string, version: number): void {
  const folder = path(`catalogs/${catalog}/versions`);
  const record = JSON.parse(readFileSync(`${folder}/1/version.json`, 'utf8'));
  writeFileSync(`${folder}/${version}/version.json`, JSON.stringify({ ...record, version }));
}

/** A set of the one item `0-1`. */
async function putList(at: ServerProcess): Promise<void> {
  const path = `${SETS}/picked/versions?activate=true`;
  const { body } = await send(at, 'POST', path, '"0-1"\n', 'application/x-ndjson');
  expect(await endOf(at, body.job.id)).toMatchObject({ state: 'succeeded' });
}

/** Every state file that a start reads, damaged in one way each, over what a server has left. */
beforeAll(async () => {
  const first = await startTestServer(dataDir, [], models);
  await makeSmallCatalog(first);
  for (const set of ['red', 'kept']) await putRule(first, set, 'colour == "red"');
  await putRule(first, 'cheap', 'price < 2.0');
  await putList(first);
  const front = { alias: 'front', catalog: 'small', constraintSet: 'kept' };
  expect((await send(first, 'POST', '/v1/aliases', { actions: [{ set: front }] })).status).toBe(200);
  const { id } = (await postBulkJob(first, [request])).body.job;
  expect((await endOf(first, id)).state).toBe('succeeded');
  await first.stop();

  jobs = [id, randomUUID()];
  cpSync(path(`bulk/${jobs[0]}`), path(`bulk/${jobs[1]}`), { recursive: true });
  for (const version of [2, 3]) copyVersion('small', version);
  cpSync(path('catalogs/small'), path('catalogs/other'), { recursive: true });
  const other = JSON.parse(readFileSync(path('catalogs/other/catalog.json'), 'utf8'));
  const [active, earlier] = [2, 1].map((version) => ({ ...other.active, version }));
  writeFileSync(
    path('catalogs/other/catalog.json'),
    JSON.stringify({ ...other, name: 'other', active, earlier: [earlier] }),
  );
  writeFileSync(path('catalogs/small/constraint-sets/listed.2.list'), '"0-1"\n');

  writeFileSync(path('catalogs/small/versions/2/version.json'), '');
  writeFileSync(path('catalogs/other/versions/2/version.json'), '{"version": 2}\n');
  writeFileSync(path('catalogs/small/constraint-sets/red.json'), '{"name": "red", "versions": [');
  writeFileSync(path('catalogs/small/constraint-sets/listed.json'), 'null');
  const cheap = readFileSync(path('catalogs/small/constraint-sets/cheap.json'), 'utf8');
  writeFileSync(path('catalogs/small/constraint-sets/cheap.json'), cheap.replace('< 2.0', '< 6.0'));
  writeFileSync(path('catalogs/small/constraint-sets/picked.1.list'), '"1-1"\n');
  writeFileSync(path('aliases.json'), '[]');
  writeFileSync(path('data-dir.json'), '\0\0\0\0');
  writeFileSync(path(`bulk/${jobs[0]}/result.json`), '{}');
  writeFileSync(path(`jobs/${jobs[1]}.json`), 'null');

  server = await startServerProcess(dataDir, 0, [...OPTIONS, '--keep-versions', '1'], 'pipe');
  server.process.stdout!.on('data', (chunk) => {
    log += chunk;
  });
});
afterAll(() => server.stop());

async function refused(method: string, url: string, body?: object): Promise<void> {
  const reply = await send(server, method, url, body);
  expect([method, url, reply.status, reply.body?.error?.code]).toEqual([
    ...[method, url],
    ...[500, 'ESP_ARTIFACT_CORRUPT'],
  ]);
  expect(reply.body.error.message).not.toContain(dataDir);
}

describe('damaged state files', () => {
  it('stop no start, and are named in the log and by what they belong to', async () => {
    for (const what of [
      /a catalog version is refused/,
      /version 2 of catalog small is damaged: version.json cannot be read: /,
      /version 2 of catalog other is damaged: version.json cannot be read: /,
      /constraint set red of catalog small is damaged: red.json cannot be read: /,
      /constraint set listed of catalog small is damaged: listed.json cannot be read: /,
      /constraint set cheap of catalog small is damaged: cheap.json cannot be read: SHA-256 of the rule of version 1 must be /,
      /constraint set picked of catalog small is damaged: list of a constraint set: /,
      /catalog small is served, but requests under its constraint set picked are refused/,
      /aliases.json cannot be read: /,
      /a job is forgotten/,
    ]) {
      await expect.poll(() => log).toMatch(what);
    }
    expect((await send(server, 'GET', '/readyz')).body.reasons).toEqual([
      expect.stringMatching(
        /^catalog other is not served: ESP_ARTIFACT_CORRUPT: version 2 of catalog other /,
      ),
    ]);
    const small = (await send(server, 'GET', '/v1/catalogs/small')).body;
    expect(small.damagedVersions).toMatchObject([{ version: 2, error: { code: 'ESP_ARTIFACT_CORRUPT' } }]);
    const { catalogs } = (await send(server, 'GET', '/v1/catalogs')).body;
    expect(catalogs.map((one: { items: number }) => one.items).sort()).toEqual([0, 6]);
    const { constraintSets, damaged } = (await send(server, 'GET', SETS)).body;
    expect(constraintSets.map(({ name }: { name: string }) => name)).toEqual(['kept', 'picked']);
    expect(damaged.map(({ name }: { name: string }) => name).sort()).toEqual([
      'cheap',
      'listed',
      'picked',
      'red',
    ]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('espalier_constraint_sets_failing{catalog="small"} 4');
    expect(metrics).toContain('espalier_constraint_sets{catalog="small"} 5');
  });

  it('leave the rest in service, and refuse what needs them', async () => {
    expect(await idsUnder(server)).toEqual(ALL);
    expect(await idsUnder(server, { set: 'kept' })).toEqual(['0-0', '1-0']);
    for (const set of ['red', 'listed', 'cheap', 'picked', 'front']) {
      await refused('POST', '/v1/recommend', { ...request, constraint: { set } });
    }
    const inactive = await send(server, 'POST', '/v1/recommend', { ...request, catalog: 'other' });
    expect([inactive.status, inactive.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    await refused('POST', '/v1/catalogs/small/versions/2/activate');
    await refused('POST', '/v1/catalogs/small/versions/1/activate');
    await refused('PUT', '/v1/catalogs/other', { model: 'table', sid, attributes });
    await refused('PUT', `${SETS}/red`, { rule: 'colour == "red"' });
    await refused('PUT', `${SETS}/new`, { rule: 'colour == "red"' });
    await refused('DELETE', `${SETS}/kept`);
    await refused('GET', '/v1/aliases');
    await refused('POST', '/v1/aliases', { actions: [{ delete: { alias: 'front' } }] });
    await refused('GET', `/v1/bulk-recommendations/jobs/${jobs[0]}/output`);
    const gone = await send(server, 'GET', `/v1/jobs/${jobs[1]}`);
    expect([gone.status, gone.body.error.code]).toEqual([404, 'ESP_JOB_NOT_FOUND']);
  });

  it('are not deleted by cleaning and retention, and count again when they are restored', async () => {
    await putList(server);
    expect(await idsUnder(server, { set: 'picked' })).toEqual(['0-1']);
    expect((await send(server, 'POST', '/v1/catalogs/other/rollback', {})).body.activeVersion).toBe(1);
    expect(await idsUnder(server, {}, 'other')).toEqual(ALL);
    expect((await upload(server, 'small', items.slice(0, 5))).result.version).toBe(4);
    const { versions } = (await send(server, 'GET', '/v1/catalogs/small/versions')).body;
    expect(versions.map(({ version }: { version: number }) => version)).toEqual([1, 4]);
    for (const file of [
      ...['catalogs/small/versions/2/catalog.bin', 'catalogs/other/versions/2/catalog.bin'],
      ...['catalogs/small/constraint-sets/listed.2.list', `bulk/${jobs[1]}/result.json`],
    ]) {
      expect([file, existsSync(path(file))]).toEqual([file, true]);
    }
    expect(readFileSync(path('aliases.json'), 'utf8')).toBe('[]');
    expect(readFileSync(path('catalogs/small/versions/2/version.json'), 'utf8')).toBe('');

    writeRecord('small', 2);
    expect((await send(server, 'POST', '/v1/catalogs/small/versions/2/activate')).body).toMatchObject({
      activeVersion: 2,
      damagedVersions: [],
    });
    expect(await idsUnder(server)).toEqual(ALL);
  });

  it('are deleted where that is asked for', async () => {
    expect((await send(server, 'DELETE', `${SETS}/red`)).status).toBe(500);
    writeFileSync(path('aliases.json'), '{"aliases": []}');
    expect((await send(server, 'DELETE', `/v1/bulk-recommendations/jobs/${jobs[0]}/output`)).status).toBe(
      204,
    );
    await server.stop();
    server = await startServerProcess(dataDir, 0, [...OPTIONS, '--log-level', 'fatal']);
    await refused('POST', '/v1/recommend', { ...request, constraint: { set: 'red' } });
    expect((await send(server, 'DELETE', `${SETS}/red`)).status).toBe(204);
    expect((await putRule(server, 'red', 'colour == "red"')).status).toBe(201);
    expect(await idsUnder(server, { set: 'red' })).toEqual(['0-0', '1-0']);
  });
});
