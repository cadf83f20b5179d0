import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, makeModelsDir, send, startTestServer, unbatched, upload } from '../helpers/server.js';

const models = makeModelsDir();
const items = ['0-1', '1-2'].map((id) => ({ id, sid: id.split('-').map(Number) }));

async function recommend(server: ServerProcess) {
  return send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
}

function fileOf(dataDir: string, version: number, name = 'catalog.bin'): string {
  return join(dataDir, `catalogs/small/versions/${version}/${name}`);
}

function flipBit(dataDir: string, version: number): void {
  const path = fileOf(dataDir, version);
  const bytes = readFileSync(path);
  bytes[bytes.indexOf('0-1')] ^= 1;
  writeFileSync(path, bytes);
}

// Without a constraint set nothing but the decode worker reads the items.
describe('a damaged version of a catalog without constraint sets', () => {
  it('is not activated, and not served after a restart', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, [], models);
    const definition = { model: 'table', sid: { codebookSizes: [2, 3] }, attributes: {} };
    expect((await send(first, 'PUT', '/v1/catalogs/small', definition)).status).toBe(201);
    expect((await upload(first, 'small', items)).result.version).toBe(1);
    expect((await upload(first, 'small', items, false)).result.version).toBe(2);
    flipBit(dataDir, 2);
    const { status, body } = await send(first, 'POST', '/v1/catalogs/small/versions/2/activate');
    expect([status, body.error.code]).toEqual([500, 'ESP_ARTIFACT_CORRUPT']);
    const fault = 'catalog.bin: expected section ids.bytes to fit its checksum, found a damaged one';
    expect(body.error.message).toBe(fault);
    expect((await recommend(first)).body.versions.catalog).toBe(1);
    await first.stop();

    flipBit(dataDir, 1);
    const second = await startTestServer(dataDir, [], models);
    expect((await send(second, 'GET', '/readyz')).body.reasons).toEqual([
      `catalog small is not served: ESP_ARTIFACT_CORRUPT: ${fault}`,
    ]);
    const reply = await recommend(second);
    expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
    await second.stop();
  });

  it('is one with the sound file of another, too, unless its record does not say what its file was', async () => {
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, [], models);
    const definition = { model: 'table', sid: { codebookSizes: [2, 3] }, attributes: {} };
    expect((await send(first, 'PUT', '/v1/catalogs/small', definition)).status).toBe(201);
    expect((await upload(first, 'small', items)).result.version).toBe(1);
    expect((await upload(first, 'small', items.slice(1), false)).result.version).toBe(2);
    const [one, two] = [1, 2].map((version) => readFileSync(fileOf(dataDir, version)));
    writeFileSync(fileOf(dataDir, 2), one);
    const activate = () => send(first, 'POST', '/v1/catalogs/small/versions/2/activate');
    const { status, body } = await activate();
    expect([status, body.error.code]).toEqual([500, 'ESP_ARTIFACT_CORRUPT']);
    expect(body.error.message).toMatch(/^catalog.bin: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}: /);
    writeFileSync(fileOf(dataDir, 2), two);
    // As earlier servers wrote it.
    const { hash, ...record } = JSON.parse(readFileSync(fileOf(dataDir, 2, 'version.json'), 'utf8'));
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    writeFileSync(fileOf(dataDir, 2, 'version.json'), JSON.stringify(record));
    expect((await activate()).body.activeVersion).toBe(2);
    expect((await send(first, 'POST', '/v1/catalogs/small/versions/1/activate')).body.activeVersion).toBe(1);
    await first.stop();

    copyFileSync(fileOf(dataDir, 2), fileOf(dataDir, 1));
    const second = await startTestServer(dataDir, [], models);
    expect((await send(second, 'GET', '/readyz')).body.reasons).toEqual([
      expect.stringMatching(
        /^catalog small is not served: ESP_ARTIFACT_CORRUPT: catalog.bin: expected SHA-256 /,
      ),
    ]);
    await second.stop();
  });
});

/** Processes that a server has started for decoding. */
function enginesOf({ process: { pid } }: ServerProcess): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1];
      const isEngine = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('engine-worker.js');
      return isEngine && Number(parent) === pid ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

it('a version whose file is gone when an engine is replaced costs its own catalog, and no other', async () => {
  const dataDir = makeDataDir();
  const options = ['--decode-isolation', 'process', '--decode-engines', '1', ...unbatched];
  const server = await startTestServer(dataDir, options, models);
  const definition = { model: 'table', sid: { codebookSizes: [2, 3] }, attributes: {} };
  for (const name of ['small', 'sound']) {
    expect((await send(server, 'PUT', `/v1/catalogs/${name}`, definition)).status).toBe(201);
    expect((await upload(server, name, items)).result.version).toBe(1);
  }
  const metrics = async () => (await fetch(`${server.url}/metrics`)).text();
  expect(await metrics()).toContain('espalier_catalog_version{catalog="small"} 1');
  const bytes = readFileSync(fileOf(dataDir, 1));
  rmSync(fileOf(dataDir, 1));
  const engines = enginesOf(server);
  expect(engines).toHaveLength(1);
  process.kill(engines[0], 'SIGKILL');
  const reasons = async () => (await send(server, 'GET', '/readyz')).body.reasons ?? [];
  await expect
    .poll(reasons, { timeout: 30_000 })
    .toEqual([
      expect.stringMatching(/^catalog small is not served: ESP_ARTIFACT_CORRUPT: catalog.bin cannot /),
    ]);
  const sound = await send(server, 'POST', '/v1/recommend', { catalog: 'sound', history: [] });
  expect(sound.status).toBe(200);
  const reply = await recommend(server);
  expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
  expect(await metrics()).not.toContain('espalier_catalog_version{catalog="small"}');
  expect(await metrics()).toContain('espalier_catalog_version{catalog="sound"} 1');
  const activate = () => send(server, 'POST', '/v1/catalogs/small/versions/1/activate');
  expect((await activate()).body.error.code).toBe('ESP_ARTIFACT_CORRUPT');
  writeFileSync(fileOf(dataDir, 1), bytes);
  expect((await activate()).status).toBe(200);
  expect(await reasons()).toEqual([]);
  expect((await recommend(server)).body.items).toHaveLength(2);
  expect(await metrics()).toContain('espalier_catalog_version{catalog="small"} 1');
  await server.stop();
});
