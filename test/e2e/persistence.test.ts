import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import {
  endOf,
  kill,
  makeDataDir,
  makeModelsDir,
  send,
  startTestServer,
  unbatched,
  upload,
} from '../helpers/server.js';

const models = makeModelsDir();
const sid = { codebookSizes: [2, 3] };
const attributes = { price: { type: 'double' }, colour: { type: 'string' } };
const items = [0, 1].flatMap((a) =>
  [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b], price: a + b, colour: b === 0 ? 'red' : 'blue' })),
);

async function makeCatalog(server: ServerProcess): Promise<void> {
  expect((await send(server, 'PUT', '/v1/catalogs/small', { model: 'table', sid, attributes })).status).toBe(
    201,
  );
  expect((await upload(server, 'small', items)).state).toBe('succeeded');
  const set = { rule: 'colour == params.colour', params: { colour: 'red' } };
  expect((await send(server, 'PUT', '/v1/catalogs/small/constraint-sets/red', set)).status).toBe(201);
}

async function ids(server: ServerProcess, constraint: object = {}): Promise<string[]> {
  const { body } = await send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [], constraint });
  return body.items.map(({ id }: { id: string }) => id);
}

describe('state in the data directory', () => {
  it('survives kill -9: catalogs, versions, sets and jobs', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(first);
    const job = await upload(first, 'small', items.slice(0, 4), false);
    const before = {
      catalog: (await send(first, 'GET', '/v1/catalogs/small')).body,
      versions: (await send(first, 'GET', '/v1/catalogs/small/versions')).body,
      set: (await send(first, 'GET', '/v1/catalogs/small/constraint-sets/red')).body,
      free: await ids(first),
      red: await ids(first, { set: 'red' }),
    };
    expect(before.free).toHaveLength(6);
    expect([...before.red].sort()).toEqual(['0-0', '1-0']);
    expect(before.set).toMatchObject({ version: 1, items: 2, leaves: 2, catalogVersion: 1 });
    expect(before.versions.versions).toMatchObject([
      { version: 1, items: 6, active: true },
      { version: 2, items: 4, active: false },
    ]);
    await kill(first);

    const second = await startTestServer(dataDir, unbatched, models);
    expect((await send(second, 'GET', '/readyz')).status).toBe(200);
    expect({
      catalog: (await send(second, 'GET', '/v1/catalogs/small')).body,
      versions: (await send(second, 'GET', '/v1/catalogs/small/versions')).body,
      set: (await send(second, 'GET', '/v1/catalogs/small/constraint-sets/red')).body,
      free: await ids(second),
      red: await ids(second, { set: 'red' }),
    }).toEqual(before);
    expect((await send(second, 'GET', `/v1/jobs/${job.id}`)).body.job).toEqual(job);
    // Numbers are not given twice.
    expect((await upload(second, 'small', items)).result.version).toBe(3);
    await second.stop();
  });

  it('goes on with a job that kill -9 interrupted, or fails it where its upload is gone', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(first);
    const many = Array.from({ length: 200_000 }, (_, index) =>
      JSON.stringify({ id: `item-${index}`, sid: [index % 2, index % 3], price: index }),
    ).join('\n');
    const path = '/v1/catalogs/small/versions?activate=true';
    const started = await Promise.all(
      [many, JSON.stringify(items[0])].map((lines) =>
        send(first, 'POST', path, lines, 'application/x-ndjson'),
      ),
    );
    const [large, lost] = started.map(({ body }) => body).sort((a, b) => a.version - b.version);
    expect([large, lost]).toMatchObject([{ version: 2, job: { state: 'queued' } }, { version: 3 }]);
    await kill(first);
    const record = JSON.parse(readFileSync(join(dataDir, 'jobs', `${lost.job.id}.json`), 'utf8'));
    rmSync(join(dataDir, record.files[0]));
    writeFileSync(join(dataDir, 'uploads/of-nobody'), '');

    const second = await startTestServer(dataDir, unbatched, models);
    const { job } = (await send(second, 'GET', `/v1/jobs/${lost.job.id}`)).body;
    expect(job).toMatchObject({ state: 'failed', error: { code: 'ESP_JOB_INTERRUPTED' } });
    expect(await ids(second)).toHaveLength(6);
    expect(await endOf(second, large.job.id)).toMatchObject({ state: 'succeeded', result: { version: 2 } });
    expect((await send(second, 'GET', '/v1/catalogs/small')).body).toMatchObject({ activeVersion: 2 });
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
    await second.stop();
  });

  it('does not activate again what was active before a kill, and what was left since', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(first);
    await upload(first, 'small', items.slice(0, 4));
    const [two, one] = (await send(first, 'GET', '/v1/jobs')).body.jobs;
    await first.stop();
    // As a kill leaves them between the switch and the job's last write.
    for (const { id } of [one, two]) {
      const path = join(dataDir, 'jobs', `${id}.json`);
      const { result: _, ...record } = JSON.parse(readFileSync(path, 'utf8'));
      writeFileSync(path, JSON.stringify({ ...record, state: 'running' }));
    }
    const catalog = readFileSync(join(dataDir, 'catalogs/small/catalog.json'), 'utf8');

    const second = await startTestServer(dataDir, unbatched, models);
    for (const { id, result } of [one, two]) {
      expect(await endOf(second, id)).toMatchObject({ state: 'succeeded', result });
    }
    expect(readFileSync(join(dataDir, 'catalogs/small/catalog.json'), 'utf8')).toBe(catalog);
    expect((await send(second, 'GET', '/v1/catalogs/small')).body.activeVersion).toBe(2);
    await second.stop();
  });

  it('does not serve a damaged catalog file, and says so', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(first);
    await first.stop();
    const path = join(dataDir, 'catalogs/small/versions/1/catalog.bin');
    const bytes = readFileSync(path);
    bytes[bytes.indexOf('1-2')] ^= 1;
    writeFileSync(path, bytes);

    const second = await startTestServer(dataDir, unbatched, models);
    expect(await send(second, 'GET', '/readyz')).toMatchObject({
      status: 503,
      body: { reasons: [expect.stringMatching(/^catalog small is not served: ESP_ARTIFACT_CORRUPT: /)] },
    });
    const reply = await send(second, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
    expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    await second.stop();
  });
});

describe('a server that cannot start', () => {
  it('ends with exit code 1 and says why, and leaves the other one alone', async () => {
    const dataDir = makeDataDir();
    const server = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(server);
    await expect(startTestServer(dataDir, unbatched, models)).rejects.toThrow(
      /ended with code 1:\n.*ESP_DATA_DIR: another server \(process \d+\) uses the data directory/,
    );
    const { port } = new URL(server.url);
    await expect(startTestServer(makeDataDir(), ['--port', port], models)).rejects.toThrow(
      /ended with code 1:\n.*ESP_ADDRESS: cannot listen on 127\.0\.0\.1, port/,
    );
    const file = join(makeDataDir(), 'file');
    writeFileSync(file, '');
    await expect(startTestServer(file, [], models)).rejects.toThrow(/ended with code 1:\n.*ESP_DATA_DIR/);
    await expect(startTestServer(makeDataDir(), [], join(dataDir, 'nowhere'))).rejects.toThrow(
      /ended with code 2:\n.*ESP_CONFIG_INVALID: modelsDir/,
    );
    expect(await ids(server)).toHaveLength(6);
    await server.stop();
  });
});

describe('damage on disk', () => {
  it('keeps to the catalog or the job that it hit', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(first);
    await send(first, 'PUT', '/v1/catalogs/other', { model: 'table', sid, attributes });
    const job = await upload(first, 'other', items);
    await first.stop();
    writeFileSync(join(dataDir, 'jobs', `${job.id}.json`), '');
    writeFileSync(join(dataDir, 'catalogs/other/catalog.json'), '{');
    mkdirSync(join(dataDir, 'catalogs/small/versions/.stray'));
    writeFileSync(join(dataDir, 'catalogs/small/catalog.json.7.tmp'), '{');

    const second = await startTestServer(dataDir, unbatched, models);
    expect(await ids(second)).toHaveLength(6);
    expect((await send(second, 'GET', '/readyz')).body.reasons).toEqual([
      expect.stringMatching(/^catalog other is not served: ESP_ARTIFACT_CORRUPT: /),
    ]);
    expect((await send(second, 'GET', `/v1/jobs/${job.id}`)).status).toBe(404);
    const reply = await send(second, 'PUT', '/v1/catalogs/other', { model: 'table', sid, attributes });
    expect([reply.status, reply.body.error.code]).toEqual([500, 'ESP_ARTIFACT_CORRUPT']);
    expect(reply.body.error.message).not.toContain(dataDir);
    expect((await upload(second, 'small', items)).result.version).toBe(2);
    expect(existsSync(join(dataDir, 'catalogs/small/catalog.json.7.tmp'))).toBe(false);
    await second.stop();
  });

  it('does not switch versions halfway when a write fails', async () => {
    const dataDir = makeDataDir();
    const server = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(server);
    const moved = items.map((item) => ({ ...item, sid: [item.sid[0], 2 - item.sid[1]] }));
    await upload(server, 'small', moved, false);
    // A folder where the pointer's temporary file would go: the write fails as on a full disk.
    const obstacle = join(dataDir, `catalogs/small/catalog.json.${server.process.pid}.tmp`);
    mkdirSync(obstacle);
    expect((await send(server, 'POST', '/v1/catalogs/small/versions/2/activate')).status).toBe(500);
    expect((await send(server, 'GET', '/v1/catalogs/small')).body.activeVersion).toBe(1);
    const set = { rule: 'colour == params.colour', params: { colour: 'red' } };
    expect((await send(server, 'PUT', '/v1/catalogs/small/constraint-sets/red', set)).status).toBe(200);
    const request = { catalog: 'small', history: [], constraint: { set: 'red' }, k: 2 };
    const { body } = await send(server, 'POST', '/v1/recommend', request);
    expect(body.versions).toEqual({ catalog: 1, constraintSet: 2, model: 1 });
    expect(body.items.map(({ id }: { id: string }) => id).sort()).toEqual(['0-0', '1-0']);
    rmdirSync(obstacle);
    expect((await send(server, 'POST', '/v1/catalogs/small/versions/2/activate')).status).toBe(200);
    expect((await ids(server, { set: 'red' })).sort()).toEqual(['0-0', '1-0']);
    await server.stop();
  });

  it('goes on with jobs when their state cannot be written', async () => {
    const dataDir = makeDataDir();
    const server = await startTestServer(dataDir, unbatched, models);
    await makeCatalog(server);
    const many = Array.from({ length: 100_000 }, (_, index) =>
      JSON.stringify({ id: `${index}`, sid: [0, 0] }),
    );
    const started = await send(
      server,
      'POST',
      '/v1/catalogs/small/versions',
      many.join('\n'),
      'application/x-ndjson',
    );
    renameSync(join(dataDir, 'jobs'), join(dataDir, 'jobs.away'));
    const { id } = started.body.job;
    const isOver = async () =>
      !['queued', 'running'].includes((await send(server, 'GET', `/v1/jobs/${id}`)).body.job.state);
    while (!(await isOver())) await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await send(server, 'GET', `/v1/jobs/${id}`)).body.job.state).toBe('succeeded');
    renameSync(join(dataDir, 'jobs.away'), join(dataDir, 'jobs'));
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    await server.stop();
  });
});

describe('versions and sets', () => {
  it('switch as a whole: a new version brings its items and re-derives every set', async () => {
    const server = await startTestServer(makeDataDir(), unbatched, models);
    expect((await send(server, 'GET', '/readyz')).body.reasons).toEqual(['no catalog has an active version']);
    await makeCatalog(server);
    const fewer = items.filter(({ id }) => id !== '0-0');
    expect((await upload(server, 'small', fewer, false)).result).toMatchObject({
      version: 2,
      activated: false,
    });
    expect(await ids(server, { set: 'red' })).toHaveLength(2);
    const reply = await send(server, 'POST', '/v1/catalogs/small/versions/2/activate');
    expect(reply.body).toMatchObject({ activeVersion: 2, items: 5, leaves: 5 });
    expect(await ids(server)).toHaveLength(5);
    expect(await ids(server, { set: 'red' })).toEqual(['1-0']);
    expect((await send(server, 'POST', '/v1/catalogs/small/versions/1/activate')).status).toBe(200);
    expect(await ids(server, { set: 'red' })).toHaveLength(2);
    await server.stop();
  });

  it('puts a rule in force when the call returns, before the first version too', async () => {
    const server = await startTestServer(makeDataDir(), unbatched, models);
    await send(server, 'PUT', '/v1/catalogs/small', { model: 'table', sid, attributes });
    const path = '/v1/catalogs/small/constraint-sets/cheap';
    const early = await send(server, 'PUT', path, { rule: 'price < 1.0' });
    expect([early.status, early.body.items, early.body.catalogVersion]).toEqual([201, null, null]);
    const noVersion = await send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
    expect([noVersion.status, noVersion.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    await upload(server, 'small', items);
    expect(await ids(server, { set: 'cheap' })).toEqual(['0-0']);
    const later = await send(server, 'PUT', path, { rule: 'price < 2.0' });
    expect([later.status, later.body.version, later.body.items]).toEqual([200, 2, 3]);
    expect([...(await ids(server, { set: 'cheap' }))].sort()).toEqual(['0-0', '0-1', '1-0']);
    await server.stop();
  });

  it('previews a rule without changing anything', async () => {
    const server = await startTestServer(makeDataDir(), unbatched, models);
    await makeCatalog(server);
    const { body } = await send(server, 'POST', '/v1/catalogs/small/constraint-sets/preview', {
      rule: 'price >= params.least',
      params: { least: 2 },
    });
    expect(body).toMatchObject({ items: 3, leaves: 3, liveChildrenPerLevel: [2, 3] });
    expect(body.sample[0]).toEqual({ id: '0-2', sid: [0, 2], attributes: { price: 2, colour: 'blue' } });
    expect(
      (await send(server, 'GET', '/v1/catalogs/small/constraint-sets')).body.constraintSets,
    ).toHaveLength(1);
    await server.stop();
  });

  it('answers only the allowed ones of items that share a SID', async () => {
    const server = await startTestServer(makeDataDir(), unbatched, models);
    await send(server, 'PUT', '/v1/catalogs/small', { model: 'table', sid, attributes });
    const twins = ['z', 'b', 'a'].map((id, index) => ({
      id,
      sid: [0, 1],
      price: index,
      colour: id === 'b' ? 'red' : 'blue',
    }));
    await upload(server, 'small', twins);
    expect(await ids(server)).toEqual(['a', 'b', 'z']);
    expect(await ids(server, { filter: 'colour == "red"' })).toEqual(['b']);
    expect(await ids(server, { exclude: ['a', 'z'] })).toEqual(['b']);
    expect(await ids(server, { filter: 'colour == "red"', exclude: ['b'] })).toEqual([]);
    await server.stop();
  });
});
