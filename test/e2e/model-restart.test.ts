import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import {
  activate,
  ask,
  codebooks,
  itemsOf,
  loadedVersions,
  ModelsDir,
  newCodebooks,
  putModel,
  rollback,
} from '../helpers/model-versions.js';
import { makeDataDir, send, startTestServer, upload } from '../helpers/server.js';

/** Catalog `name` with version 1 on model version 1 and version 2 on a model with new SIDs, which is active. */
async function makePairs(server: ServerProcess, models: ModelsDir, name: string): Promise<void> {
  models.put(name, 1, 'table');
  await putModel(server, name, name);
  expect((await upload(server, name, itemsOf(codebooks))).state).toBe('succeeded');
  models.put(name, 2, 'new-sids');
  await putModel(server, name, name, newCodebooks);
  expect((await upload(server, name, itemsOf(newCodebooks))).state).toBe('succeeded');
}

async function catalog(server: ServerProcess, name: string) {
  return (await send(server, 'GET', `/v1/catalogs/${name}`)).body;
}

async function reasons(server: ServerProcess): Promise<string[]> {
  return (await send(server, 'GET', '/readyz')).body.reasons;
}

describe('after a restart', () => {
  it('the pair that was active serves, and the earlier one can be rolled back to', async () => {
    const models = new ModelsDir();
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, [], models.path);
    await makePairs(first, models, 'a');
    const versions = (await send(first, 'GET', '/v1/catalogs/a/versions')).body;
    const newer = await ask(first, 'a');
    await rollback(first, 'a');
    await activate(first, 'a', 2);
    await rollback(first, 'a');
    await activate(first, 'a', 2);
    // A newer model on disk is nobody's until somebody asks for it.
    models.put('a', 3, 'retrained');
    const before = await catalog(first, 'a');
    expect(before.earlier).toHaveLength(1);
    await first.stop();

    const second = await startTestServer(dataDir, [], models.path);
    expect(await reasons(second)).toEqual([]);
    expect(await catalog(second, 'a')).toEqual(before);
    expect((await send(second, 'GET', '/v1/catalogs/a/versions')).body).toEqual(versions);
    expect(await ask(second, 'a')).toEqual(newer);
    expect(await loadedVersions(second, 'a')).toEqual([2]);
    expect((await rollback(second, 'a')).status).toBe(200);
    expect((await ask(second, 'a')).versions).toEqual({ catalog: 1, model: 1 });
    const none = await rollback(second, 'a');
    expect([none.status, none.body.error.code]).toEqual([409, 'ESP_ROLLBACK_UNAVAILABLE']);
    await second.stop();
  });

  it('a catalog whose model is gone or is another one is not served and says why; others are', async () => {
    const models = new ModelsDir();
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, [], models.path);
    for (const name of ['gone', 'changed', 'sound']) await makePairs(first, models, name);
    const sound = await ask(first, 'sound');
    const before = await catalog(first, 'gone');
    await first.stop();
    models.remove('gone', 2);
    models.put('changed', 2, 'new-vocabulary');

    const second = await startTestServer(dataDir, [], models.path);
    expect((await reasons(second)).sort()).toEqual([
      expect.stringMatching(
        /^catalog changed is not served: ESP_MODEL_MISFIT: model changed version 2 does not fit version 2 of catalog changed: sid\.codebookSizes: expected \[3, 2\], found \[2, 3\]; vocabSize: expected 7, found 8; tokens: /,
      ),
      expect.stringMatching(
        /^catalog gone is not served: ESP_MODEL_NOT_FOUND: version 2 of catalog gone needs model gone version 2: /,
      ),
    ]);
    expect(await ask(second, 'sound')).toEqual(sound);
    for (const name of ['gone', 'changed']) {
      const reply = await send(second, 'POST', '/v1/recommend', { catalog: name, history: [] });
      expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_INACTIVE']);
      expect(await loadedVersions(second, name)).toEqual([]);
    }
    // Nothing was given up: what is on disk still says what should serve, and it does once its model is back.
    const { notServed, ...kept } = await catalog(second, 'gone');
    expect([kept, notServed.code]).toEqual([before, 'ESP_MODEL_NOT_FOUND']);
    models.put('gone', 2, 'new-sids');
    expect((await activate(second, 'gone', 2)).status).toBe(200);
    expect((await rollback(second, 'changed')).status).toBe(200);
    expect(await reasons(second)).toEqual([]);
    expect((await ask(second, 'gone')).versions).toEqual({ catalog: 2, model: 2 });
    expect((await ask(second, 'changed')).versions).toEqual({ catalog: 1, model: 1 });
    await second.stop();
  });
});

describe('records of earlier servers', () => {
  /** As they were before versions pinned models. */
  function writeOldRecords(dataDir: string, name: string, versions: readonly number[]): void {
    const folder = join(dataDir, 'catalogs', name);
    const rewrite = (path: string, change: (record: Record<string, unknown>) => object) =>
      writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))));
    rewrite(join(folder, 'catalog.json'), ({ active, earlier, model, ...rest }) => {
      const { version, activatedAt } = active as { version: number; activatedAt: string };
      const { info, ...modelName } = model as { info: object };
      return { ...rest, model: modelName, activeVersion: version, activatedAt };
    });
    for (const version of versions) {
      rewrite(join(folder, 'versions', String(version), 'version.json'), ({ model, ...rest }) => rest);
    }
  }

  it('are pinned to the model that the catalog has, and go on serving', async () => {
    const models = new ModelsDir();
    const dataDir = makeDataDir();
    const first = await startTestServer(dataDir, [], models.path);
    for (const name of ['a', 'broken']) {
      models.put(name, 1, 'table');
      await putModel(first, name, name);
      await upload(first, name, itemsOf(codebooks).slice(1));
      await upload(first, name, itemsOf(codebooks));
    }
    const before = await ask(first, 'a');
    await first.stop();
    for (const name of ['a', 'broken']) writeOldRecords(dataDir, name, [1, 2]);
    models.put('broken', 1, 'not-onnx');

    const second = await startTestServer(dataDir, [], models.path);
    expect(await reasons(second)).toEqual([
      expect.stringMatching(/^catalog broken is not served: ESP_MODEL_MISFIT: /),
    ]);
    expect(await ask(second, 'a')).toEqual(before);
    expect(await catalog(second, 'a')).toMatchObject({
      activeVersion: 2,
      earlier: [],
      model: { version: 1 },
    });
    const { versions } = (await send(second, 'GET', '/v1/catalogs/a/versions')).body;
    const fingerprint = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(versions).toMatchObject([
      { version: 1, model: { name: 'a', version: 1, fingerprint } },
      { version: 2, model: { name: 'a', version: 1, fingerprint } },
    ]);
    expect((await rollback(second, 'a')).body.error.code).toBe('ESP_ROLLBACK_UNAVAILABLE');
    // Another model does not become theirs.
    for (const name of ['a', 'broken']) {
      models.put(name, 2, 'new-sids');
      expect((await putModel(second, name, name, newCodebooks)).body.model.version).toBe(2);
      const { body } = await send(second, 'GET', `/v1/catalogs/${name}/versions`);
      expect(body.versions[0].model.version).toBe(1);
    }
    expect(await ask(second, 'a')).toEqual(before);
    models.put('broken', 1, 'table');
    expect((await activate(second, 'broken', 1)).status).toBe(200);
    expect((await ask(second, 'broken')).versions).toEqual({ catalog: 1, model: 1 });
    const healed = (await send(second, 'GET', '/v1/catalogs/broken/versions')).body.versions;
    expect(healed[0].model).toEqual({ name: 'broken', version: 1, fingerprint });
    await second.stop();
  });
});
