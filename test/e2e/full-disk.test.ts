import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { manyItems, post } from '../helpers/build-load.js';
import {
  endOf,
  kill,
  makeModelsDir,
  type Reply,
  send,
  startTestServer,
  unbatched,
  upload,
} from '../helpers/server.js';
import { SmallDisk } from '../helpers/small-disk.js';
import {
  attributes,
  idsUnder,
  items,
  makeSmallCatalog,
  putRule,
  SETS,
  sid,
} from '../helpers/small-server.js';

const disk = SmallDisk.mount('128m');
if (typeof disk === 'string') console.log(`a full disk is not tested: ${disk}`);

const models = makeModelsDir();
const CATALOG = '/v1/catalogs/small';
const NDJSON = 'application/x-ndjson';
const alias = (constraintSet: string) => ({ set: { alias: 'shown', catalog: 'small', constraintSet } });

/** Longer than what is left of the last block of the log, so that a part of it fits. */
const manyIds = Array.from({ length: 5_000 }, (_, index) => `nobody-${index}`);

type Change = [name: string, method: string, path: string, body?: unknown, contentType?: string];
const changes: Change[] = [
  ['PUT of a catalog', 'PUT', '/v1/catalogs/new', { model: 'table', sid, attributes }],
  ['upload', 'POST', `${CATALOG}/versions?activate=true`, JSON.stringify(items[0]), NDJSON],
  ['upload of a list', 'POST', `${SETS}/listed/versions?activate=true`, '"0-0"', NDJSON],
  ['PUT of a rule', 'PUT', `${SETS}/red`, { rule: 'price > 2.0' }],
  ['PUT of a new set', 'PUT', `${SETS}/new`, { rule: 'price > 2.0' }],
  ['activation of a set', 'POST', `${SETS}/red/activate`, { version: 1 }],
  ['rollback of a set', 'POST', `${SETS}/red/rollback`],
  ['activation of a version', 'POST', `${CATALOG}/versions/1/activate`],
  ['rollback of a catalog', 'POST', `${CATALOG}/rollback`],
  ['removal', 'PATCH', `${CATALOG}/items`, { remove: ['0-0', ...manyIds] }],
  ['update', 'PATCH', `${CATALOG}/items`, { update: [{ id: '0-1', colour: 'x'.repeat(5_000) }] }],
  ['addition', 'PATCH', `${CATALOG}/items`, { add: [{ id: 'new', sid: [0, 0] }] }],
  [
    'replacement',
    'PATCH',
    `${CATALOG}/items`,
    { remove: ['0-0', ...manyIds], add: [{ id: '0-0', sid: [1, 1] }] },
  ],
  ['switch of an alias', 'POST', '/v1/aliases', { actions: [alias('cheap')] }],
];
const deletions: Change[] = [
  ['deletion of a set', 'DELETE', `${SETS}/spare`],
  ['deletion of a catalog', 'DELETE', '/v1/catalogs/spare'],
];

describe.skipIf(typeof disk === 'string')('a data directory on a disk', () => {
  const { path, fill, free, setReadOnly, unmount } = bound(disk as SmallDisk);
  const dataDir = join(path, 'data');
  let server: ServerProcess;
  const start = () => startTestServer(dataDir, ['--build-concurrency', '1', ...unbatched], models);

  beforeAll(async () => {
    mkdirSync(dataDir);
    server = await start();
    await makeSmallCatalog(server);
    await makeSmallCatalog(server, 'spare');
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    await putRule(server, 'red', 'colour == "blue"');
    await putRule(server, 'red', 'colour == "red"');
    for (const set of ['cheap', 'spare']) await putRule(server, set, 'price < 2.0');
    expect((await send(server, 'POST', '/v1/aliases', { actions: [alias('red')] })).status).toBe(200);
    expect((await send(server, 'PATCH', `${CATALOG}/items`, { remove: ['1-2'] })).status).toBe(200);
  });
  afterAll(async () => {
    free();
    await server.stop();
    unmount();
  });

  const request = ([, method, to, body, contentType]: Change) => send(server, method, to, body, contentType);

  /** What a client can see. */
  async function state() {
    const read = async (to: string) => (await send(server, 'GET', to)).body;
    return {
      catalogs: (await read('/v1/catalogs')).catalogs,
      catalog: await read(CATALOG),
      versions: await read(`${CATALOG}/versions`),
      sets: await read(SETS),
      aliases: await read('/v1/aliases'),
      free: await idsUnder(server),
      shown: await idsUnder(server, { set: 'shown' }),
    };
  }

  async function expectRefused(list: readonly Change[]): Promise<void> {
    const before = await state();
    for (const change of list) {
      const { status, body } = await request(change);
      expect([change[0], status, body?.error?.code]).toEqual([change[0], 500, 'ESP_WRITE_FAILED']);
      expect(body.error.message).not.toContain(path);
    }
    expect(await state()).toEqual(before);
    expect((await send(server, 'GET', '/readyz')).status).toBe(200);
  }

  /** Puts things back so that all changes are possible again. */
  async function expectAllWork(): Promise<void> {
    for (const change of changes) {
      const { status, body } = await request(change);
      expect([change[0], status, body.error]).toEqual([change[0], expect.any(Number), undefined]);
      if (body.job !== undefined) {
        expect(await endOf(server, body.job.id)).toMatchObject({ state: 'succeeded' });
      }
      if (change[0] === 'addition') await send(server, 'PATCH', `${CATALOG}/items`, { remove: ['new'] });
    }
    for (const name of ['new', 'listed'])
      expect((await send(server, 'DELETE', `${SETS}/${name}`)).status).toBe(204);
    expect((await send(server, 'DELETE', '/v1/catalogs/new')).status).toBe(204);
    expect((await upload(server, 'small', items)).state).toBe('succeeded');
    await putRule(server, 'red', 'colour == "blue"');
    await putRule(server, 'red', 'colour == "red"');
    await send(server, 'POST', '/v1/aliases', { actions: [alias('red')] });
  }

  async function expectKept(): Promise<void> {
    const before = await state();
    await kill(server);
    server = await start();
    expect(await state()).toEqual(before);
  }

  it('that is full refuses every change with a typed error, and changes nothing', async () => {
    fill();
    await expectRefused(changes);
  });

  it('that is full can be given room by deleting; then all goes on without a restart', async () => {
    for (const change of deletions)
      expect([change[0], (await request(change)).status]).toEqual([change[0], 204]);
    expect((await send(server, 'GET', '/v1/catalogs/spare')).status).toBe(404);
    free();
    await expectAllWork();
    await expectKept();
  });

  it('keeps a small change that is acknowledged after one that did not fit', async () => {
    fill();
    const large = changes.find(([name]) => name === 'removal')!;
    expect((await request(large)).body.error.code).toBe('ESP_WRITE_FAILED');
    // It may still fit into the block that the log has.
    const small = await send(server, 'PATCH', `${CATALOG}/items`, { remove: ['0-2'] });
    expect([200, 500]).toContain(small.status);
    expect((await idsUnder(server)).includes('0-2')).toBe(small.status === 500);
    await expectKeptWhenFree();
  });

  async function expectKeptWhenFree(): Promise<void> {
    free();
    expect((await send(server, 'PATCH', `${CATALOG}/items`, { remove: ['1-1'] })).status).toBe(200);
    await expectKept();
    expect(await idsUnder(server)).not.toContain('1-1');
  }

  it('that is full in the middle of builds fails them, and lets them be cancelled for good', async () => {
    const runs = await post(server, manyItems(300_000));
    const waits = await post(server, JSON.stringify(items[0]));
    fill();
    const cancelled = await send(server, 'DELETE', `/v1/jobs/${waits.body.job.id}`);
    expect([cancelled.status, cancelled.body.job?.state]).toEqual([200, 'cancelled']);
    const job: Reply['body'] = await endOf(server, runs.body.job.id);
    expect([job.state, job.error?.code]).toEqual(['failed', 'ESP_WRITE_FAILED']);
    free();
    const before = await state();
    await kill(server);
    server = await start();
    const after = await send(server, 'GET', `/v1/jobs/${waits.body.job.id}`);
    expect(['ESP_JOB_NOT_FOUND', 'cancelled']).toContain(after.body.error?.code ?? after.body.job.state);
    expect(await state()).toEqual(before);
  });

  it('that is read-only refuses every change with a typed error, and goes on when it is not', async () => {
    await makeSmallCatalog(server, 'spare');
    await putRule(server, 'spare', 'price < 2.0');
    setReadOnly(true);
    await expectRefused([...changes, ...deletions]);
    setReadOnly(false);
    await expectAllWork();
    await expectKept();
  });

  it('that is read-only stops a server from starting, with a clear error; one that runs stops as ever', async () => {
    setReadOnly(true);
    await server.stop();
    expect(server.process.exitCode).toBe(0);
    await expect(start()).rejects.toThrow(/ended with code 1:\n.*ESP_DATA_DIR: the data directory .* EROFS/);
    setReadOnly(false);
    server = await start();
    expect(await idsUnder(server)).not.toEqual([]);
  });
});

/** Methods by themselves; of a disk that is not there, none is called. */
function bound(one: SmallDisk) {
  return {
    path: one.path ?? '',
    fill: () => one.fill(),
    free: () => one.free(),
    setReadOnly: (isReadOnly: boolean) => one.setReadOnly(isReadOnly),
    unmount: () => one.unmount(),
  };
}
