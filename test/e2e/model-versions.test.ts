import { cpSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
import { modelFolder } from '../helpers/retail.js';
import { makeDataDir, send, startTestServer, upload } from '../helpers/server.js';

/** Catalog versions and model versions serve as pairs, through a running server. */

const models = new ModelsDir();
const dataDir = makeDataDir();
let server: ServerProcess;
let modelCount = 0;

beforeAll(async () => {
  server = await startTestServer(dataDir, ['--decode-engines', '2'], models.path);
});
afterAll(() => server.stop());

/** A model with a name of its own and one version, and a catalog of the same name that serves with it. */
async function makeCatalog(): Promise<string> {
  const name = `m${modelCount++}`;
  models.put(name, 1, 'table');
  expect((await putModel(server, name, name)).status).toBe(201);
  expect((await upload(server, name, itemsOf(codebooks))).state).toBe('succeeded');
  return name;
}

async function pairOf(name: string) {
  const { body } = await send(server, 'GET', `/v1/catalogs/${name}`);
  return [body.active.version, body.active.model.version];
}

describe('a new model version', () => {
  it('is found and checked without a restart, and nothing that serves changes', async () => {
    const name = await makeCatalog();
    const before = await ask(server, name);
    models.put(name, 2, 'retrained');
    models.put(name, 3, 'new-sids');
    const { body: all } = await send(server, 'GET', '/v1/models');
    expect(all.models).toContainEqual({ name, versions: [1, 2, 3] });
    const first = {
      version: 1,
      state: 'fits',
      contract: 'logits',
      codebookSizes: codebooks,
      vocabSize: 7,
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
      pinnedBy: [{ catalog: name, versions: [1] }],
      active: [name],
      loaded: true,
    };
    const unchecked = { state: 'unchecked', pinnedBy: [], active: [], loaded: false };
    const found = await send(server, 'GET', `/v1/models/${name}`);
    expect(found.body).toEqual({
      name,
      versions: [first, { ...unchecked, version: 2 }, { ...unchecked, version: 3 }],
    });

    const newest = await send(server, 'POST', `/v1/models/${name}/load`);
    expect([newest.status, newest.body]).toMatchObject([
      200,
      { version: 3, state: 'fits', codebookSizes: newCodebooks, loaded: false },
    ]);
    const second = await send(server, 'POST', `/v1/models/${name}/load`, { version: 2 });
    const { fingerprint } = found.body.versions[0];
    expect(second.body).toMatchObject({ version: 2, state: 'fits', fingerprint, active: [] });
    expect(newest.body.fingerprint).not.toBe(fingerprint);
    expect((await send(server, 'GET', `/v1/models/${name}`)).body.versions.slice(1)).toEqual([
      second.body,
      newest.body,
    ]);
    expect(await ask(server, name)).toEqual(before);
    expect((await send(server, 'GET', `/v1/catalogs/${name}`)).body.model.version).toBe(1);
  });

  it('that is broken is refused, and remembered as such until its files change', async () => {
    const name = await makeCatalog();
    const before = await ask(server, name);
    for (const [fixture, field] of [
      ['small-vocabulary', 'tokens.levelOffsets[1]'],
      ['not-onnx', 'files.model'],
    ] as const) {
      models.put(name, 2, fixture);
      for (const reply of [
        await send(server, 'POST', `/v1/models/${name}/load`),
        await putModel(server, name, { name, version: 2 }),
      ]) {
        expect([reply.status, reply.body.error.code]).toEqual([422, 'ESP_MODEL_MISFIT']);
        expect(reply.body.error.details[0].field).toBe(field);
        expect(JSON.stringify(reply.body)).not.toContain(models.path);
      }
      const { versions } = (await send(server, 'GET', `/v1/models/${name}`)).body;
      expect(versions[1]).toMatchObject({ state: 'refused', error: { code: 'ESP_MODEL_MISFIT' } });
      expect(versions[1]).not.toHaveProperty('fingerprint');
      expect(await loadedVersions(server, name)).toEqual([1]);
    }
    models.put(name, 2, 'retrained');
    expect((await send(server, 'GET', `/v1/models/${name}`)).body.versions[1].state).toBe('unchecked');
    expect((await send(server, 'POST', `/v1/models/${name}/load`)).body.state).toBe('fits');
    expect(await ask(server, name)).toEqual(before);
  });

  it('trained further for the same SIDs serves as soon as the catalog is given it', async () => {
    const name = await makeCatalog();
    const before = await ask(server, name);
    models.put(name, 2, 'retrained');
    const reply = await putModel(server, name, name);
    expect([reply.status, reply.body]).toMatchObject([
      200,
      { activeVersion: 1, model: { version: 2 }, active: { version: 1, model: { name, version: 2 } } },
    ]);
    const after = await ask(server, name);
    expect(after.versions).toEqual({ catalog: 1, model: 2 });
    expect(after.items).not.toBe(before.items);
    // The version stays pinned to what it was built for.
    const { versions } = (await send(server, 'GET', `/v1/catalogs/${name}/versions`)).body;
    expect(versions[0]).toMatchObject({ version: 1, active: true, model: { name, version: 1 } });

    const restored = await rollback(server, name);
    expect(restored.body).toMatchObject({ model: { version: 1 }, active: { model: { version: 1 } } });
    expect(await ask(server, name)).toEqual(before);
    // The model that was rolled back from does not come back with the next upload.
    await upload(server, name, itemsOf(codebooks));
    expect(await pairOf(name)).toEqual([2, 1]);
  });
});

describe('a model with new SIDs', () => {
  it('waits for its catalog version, and both switch at once, and roll back at once', async () => {
    const name = await makeCatalog();
    const before = await ask(server, name);
    models.put(name, 2, 'new-sids');
    const put = await putModel(server, name, name, newCodebooks);
    expect([put.status, put.body]).toMatchObject([
      200,
      { model: { version: 2 }, sid: { codebookSizes: newCodebooks }, active: { model: { version: 1 } } },
    ]);
    expect(await ask(server, name)).toEqual(before);

    expect((await upload(server, name, itemsOf(newCodebooks), false)).state).toBe('succeeded');
    expect(await ask(server, name)).toEqual(before);
    const { versions } = (await send(server, 'GET', `/v1/catalogs/${name}/versions`)).body;
    const fingerprints = versions.map(({ model }: { model: { fingerprint: string } }) => model.fingerprint);
    expect(new Set(fingerprints).size).toBe(2);
    expect(versions).toMatchObject([
      { version: 1, model: { name, version: 1 }, sid: { codebookSizes: codebooks } },
      { version: 2, model: { name, version: 2 }, sid: { codebookSizes: newCodebooks } },
    ]);

    const activated = await activate(server, name, 2);
    expect(activated.body.earlier).toMatchObject([{ version: 1, model: { name, version: 1 } }]);
    const after = await ask(server, name);
    expect(after.versions).toEqual({ catalog: 2, model: 2 });
    expect(JSON.parse(after.items)).toHaveLength(6);
    expect(after.items).toContain('"sid":[2,1]');

    const restored = await rollback(server, name);
    // Uploads go on with the model whose SIDs they bring.
    expect(restored.body).toMatchObject({
      model: { version: 2 },
      active: { version: 1, model: { version: 1 } },
    });
    expect(await ask(server, name)).toEqual(before);
    expect((await activate(server, name, 2)).status).toBe(200);
    expect(await ask(server, name)).toEqual(after);
  });

  it('takes only SIDs of its own, while versions of the old model can still be activated', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'new-sids');
    await putModel(server, name, name, newCodebooks);
    const job = await upload(server, name, [{ id: 'old', sid: [1, 2] }]);
    expect(job.error.details).toMatchObject([{ line: 1, field: 'sid[1]' }]);
    expect((await activate(server, name, 1)).status).toBe(200);
    expect(await pairOf(name)).toEqual([1, 1]);
    const attributes = { price: { type: 'double' } };
    const body = { model: name, sid: { codebookSizes: newCodebooks }, attributes };
    const reply = await send(server, 'PUT', `/v1/catalogs/${name}`, body);
    expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_CONFLICT']);
  });
});

describe('a version', () => {
  it('is pinned to the model that its catalog had when its build started', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'new-sids');
    const many = Array.from({ length: 50_000 }, (_, index) =>
      JSON.stringify({ id: `${index}`, sid: [index % 2, index % 3] }),
    ).join('\n');
    const path = `/v1/catalogs/${name}/versions?activate=true`;
    const { body } = await send(server, 'POST', path, many, 'application/x-ndjson');
    expect((await putModel(server, name, name, newCodebooks)).body.model.version).toBe(2);
    const job = async () => (await send(server, 'GET', `/v1/jobs/${body.job.id}`)).body.job;
    expect(['queued', 'running']).toContain((await job()).state);
    while (['queued', 'running'].includes((await job()).state)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(await job()).toMatchObject({ state: 'succeeded', result: { version: 2, activated: true } });
    expect(await pairOf(name)).toEqual([2, 1]);
    expect((await send(server, 'GET', `/v1/catalogs/${name}`)).body.model.version).toBe(2);
  });
});

describe('a fingerprint', () => {
  it('is the same for one model under two contracts', async () => {
    const name = 'exported';
    for (const [version, exported] of ['retail', 'retail-logits'].entries()) {
      cpSync(modelFolder(exported), join(models.path, name, String(version + 1)), { recursive: true });
      await send(server, 'POST', `/v1/models/${name}/load`, { version: version + 1 });
    }
    const [first, second] = (await send(server, 'GET', `/v1/models/${name}`)).body.versions;
    expect([first.contract, second.contract]).toEqual(['decoder-with-past', 'logits']);
    expect(second).toEqual({ ...first, version: 2, contract: 'logits' });
    expect(first).toMatchObject({ state: 'fits', loaded: false });
  });
});

describe('a model that is no longer what a version was built for', () => {
  it.each([
    ['codebooks', () => 'new-sids' as const, {}, ['sid.codebookSizes', 'tokens']],
    ['vocabulary', () => 'new-vocabulary' as const, {}, ['vocabSize']],
    ['tokens', () => 'table' as const, { prefix: [0] }, ['tokens']],
  ])('is refused for its %s, and nothing changes', async (_, fixture, tokens, fields) => {
    const name = await makeCatalog();
    await upload(server, name, itemsOf(codebooks).slice(0, 4), false);
    models.put(name, 2, 'retrained');
    await putModel(server, name, name);
    const before = await ask(server, name);
    const catalogBefore = (await send(server, 'GET', `/v1/catalogs/${name}`)).body;
    models.put(name, 1, fixture());
    models.putTokens(name, 1, tokens);
    for (const reply of [await activate(server, name, 2), await rollback(server, name)]) {
      const { code, message, details } = reply.body.error;
      expect([reply.status, code]).toEqual([422, 'ESP_MODEL_MISFIT']);
      expect(message).toMatch(
        new RegExp(`^model ${name} version 1 does not fit version \\d of catalog ${name}: ${fields[0]}`),
      );
      expect(details.map(({ field }: { field: string }) => field)).toEqual(fields);
      expect(details[0]).toEqual({
        field: fields[0],
        expected: expect.any(String),
        found: expect.any(String),
      });
      expect(details[0].expected).not.toBe(details[0].found);
    }
    expect(await ask(server, name)).toEqual(before);
    expect((await send(server, 'GET', `/v1/catalogs/${name}`)).body).toEqual(catalogBefore);
    expect(await loadedVersions(server, name)).toEqual([2]);
    models.remove(name, 1);
    const gone = await activate(server, name, 2);
    expect([gone.status, gone.body.error.code]).toEqual([404, 'ESP_MODEL_NOT_FOUND']);
    expect(gone.body.error.message).toContain(`version 2 of catalog ${name} needs model ${name} version 1`);
  });
});

describe('rollback', () => {
  it('goes back pair by pair, and never to what was rolled back', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'retrained');
    await putModel(server, name, name);
    await upload(server, name, itemsOf(codebooks).slice(1));
    await upload(server, name, itemsOf(codebooks).slice(2));
    // Activating what is active is no step that a rollback would undo.
    await activate(server, name, 3);
    expect(await pairOf(name)).toEqual([3, 2]);
    const pairs: unknown[] = [];
    for (let times = 0; times < 3; times++) {
      expect((await rollback(server, name, {})).status).toBe(200);
      pairs.push(await pairOf(name));
    }
    expect(pairs).toEqual([
      [2, 2],
      [1, 2],
      [1, 1],
    ]);
    const reply = await rollback(server, name);
    expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_ROLLBACK_UNAVAILABLE']);
    expect(await pairOf(name)).toEqual([1, 1]);
  });

  it('goes to the latest earlier pair of a version that is named, or to any that is kept', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'retrained');
    await putModel(server, name, name);
    await upload(server, name, itemsOf(codebooks).slice(1));
    await upload(server, name, itemsOf(codebooks).slice(2));
    await upload(server, name, itemsOf(codebooks).slice(3), false);
    expect((await rollback(server, name, { version: 1 })).status).toBe(200);
    expect((await ask(server, name)).versions).toEqual({ catalog: 1, model: 2 });
    // One that was left, and one that was never active, come with the model that each was built for.
    for (const version of [2, 4]) {
      expect((await rollback(server, name, { version })).status).toBe(200);
      expect(await pairOf(name)).toEqual([version, 2]);
    }
    expect((await rollback(server, name)).status).toBe(200);
    expect(await pairOf(name)).toEqual([1, 1]);
    for (const [version, status, code] of [
      [1, 409, 'ESP_ROLLBACK_UNAVAILABLE'],
      [5, 404, 'ESP_VERSION_NOT_FOUND'],
    ] as const) {
      const reply = await rollback(server, name, { version });
      expect([version, reply.status, reply.body.error.code]).toEqual([version, status, code]);
      expect(reply.body.error.details[0]).toMatchObject({ field: 'version', found: String(version) });
    }
    expect(await pairOf(name)).toEqual([1, 1]);
  });

  it('changes nothing when its pointer cannot be written', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'new-sids');
    await putModel(server, name, name, newCodebooks);
    await upload(server, name, itemsOf(newCodebooks));
    const before = await ask(server, name);
    // A folder where the pointer's temporary file would go: the write fails as on a full disk.
    const obstacle = join(dataDir, `catalogs/${name}/catalog.json.${server.process.pid}.tmp`);
    mkdirSync(obstacle);
    for (const reply of [await rollback(server, name), await activate(server, name, 1)]) {
      expect(reply.status).toBe(500);
    }
    expect(await pairOf(name)).toEqual([2, 2]);
    expect(await ask(server, name)).toEqual(before);
    expect(await loadedVersions(server, name)).toEqual([2]);
    rmdirSync(obstacle);
    expect((await rollback(server, name)).status).toBe(200);
    expect((await ask(server, name)).versions).toEqual({ catalog: 1, model: 1 });
  });
});

describe('models in memory', () => {
  it('are those of the active pairs, of all catalogs', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'retrained');
    expect(await loadedVersions(server, name)).toEqual([1]);
    await putModel(server, name, name);
    expect(await loadedVersions(server, name)).toEqual([2]);
    const other = `${name}-other`;
    await putModel(server, other, { name, version: 1 });
    // A catalog that has nothing to serve needs no model in memory.
    expect(await loadedVersions(server, name)).toEqual([2]);
    await upload(server, other, itemsOf(codebooks));
    expect(await loadedVersions(server, name)).toEqual([1, 2]);
    const { versions } = (await send(server, 'GET', `/v1/models/${name}`)).body;
    expect(versions).toMatchObject([
      {
        pinnedBy: [
          { catalog: name, versions: [1] },
          { catalog: other, versions: [1] },
        ],
        active: [other],
      },
      { pinnedBy: [{ catalog: name, versions: [1] }], active: [name] },
    ]);
    await putModel(server, other, name);
    expect(await loadedVersions(server, name)).toEqual([2]);
    await send(server, 'POST', `/v1/models/${name}/load`, { version: 1 });
    expect(await loadedVersions(server, name)).toEqual([2]);
    await rollback(server, name);
    await rollback(server, other);
    expect(await loadedVersions(server, name)).toEqual([1]);
  });

  it('go on serving when their files change under them', async () => {
    const name = await makeCatalog();
    const before = await ask(server, name);
    models.put(name, 1, 'new-sids');
    const { body } = await send(server, 'POST', `/v1/models/${name}/load`);
    expect(body).toMatchObject({ state: 'fits', codebookSizes: newCodebooks, active: [name] });
    expect(await ask(server, name)).toEqual(before);
    models.remove(name, 1);
    await makeCatalog();
    expect(await ask(server, name)).toEqual(before);
  });
});

describe('switching under load', () => {
  it('lets every request end on the pair that it began with', async () => {
    const name = await makeCatalog();
    models.put(name, 2, 'new-sids');
    await putModel(server, name, name, newCodebooks);
    const answers = new Map([[1, await ask(server, name)]]);
    await upload(server, name, itemsOf(newCodebooks));
    answers.set(2, await ask(server, name));

    let isOver = false;
    const seen: number[] = [];
    const client = async () => {
      while (!isOver) {
        const answer = await ask(server, name);
        expect(answer).toEqual(answers.get(answer.versions.catalog));
        seen.push(answer.versions.catalog);
      }
    };
    const clients = Array.from({ length: 8 }, client);
    try {
      for (let times = 0; times < 10; times++) {
        expect((await rollback(server, name)).status).toBe(200);
        expect((await activate(server, name, 2)).status).toBe(200);
      }
    } finally {
      isOver = true;
    }
    await Promise.all(clients);
    expect(new Set(seen)).toEqual(new Set([1, 2]));
    expect(seen.length).toBeGreaterThan(100);
    expect(await loadedVersions(server, name)).toEqual([2]);
  });
});

describe('bad input', () => {
  it('is refused with its place', async () => {
    const name = await makeCatalog();
    for (const [method, path, body, status, code, field] of [
      ['POST', `/v1/models/${name}/load`, { versoin: 1 }, 400, 'ESP_REQUEST_INVALID', 'versoin'],
      ['POST', `/v1/models/${name}/load`, { version: 0 }, 400, 'ESP_REQUEST_INVALID', 'version'],
      ['POST', `/v1/models/${name}/load`, { version: '1' }, 400, 'ESP_REQUEST_INVALID', 'version'],
      ['POST', `/v1/models/${name}/load`, [], 400, 'ESP_REQUEST_INVALID', 'body'],
      ['POST', `/v1/models/${name}/load`, { version: 9 }, 404, 'ESP_MODEL_NOT_FOUND', 'model'],
      ['POST', '/v1/models/nothing/load', {}, 404, 'ESP_MODEL_NOT_FOUND', 'model'],
      ['POST', '/v1/models/..%2F..%2Fetc/load', {}, 400, 'ESP_REQUEST_INVALID', 'model'],
      ['GET', '/v1/models/nothing', undefined, 404, 'ESP_MODEL_NOT_FOUND', 'model'],
      ['GET', '/v1/models/..', undefined, 404, 'ESP_ROUTE_NOT_FOUND', undefined],
      ['GET', '/v1/models?name=x', undefined, 400, 'ESP_REQUEST_INVALID', 'name'],
      ['POST', `/v1/catalogs/${name}/rollback`, { versions: 1 }, 400, 'ESP_REQUEST_INVALID', 'versions'],
      ['POST', `/v1/catalogs/${name}/rollback`, { version: 1.5 }, 400, 'ESP_REQUEST_INVALID', 'version'],
      ['POST', `/v1/catalogs/${name}/rollback`, '{', 400, 'ESP_BODY_MALFORMED', undefined],
      ['POST', '/v1/catalogs/nothing/rollback', {}, 404, 'ESP_CATALOG_NOT_FOUND', 'catalog'],
    ] as const) {
      const reply = await send(server, method, path, body);
      expect([path, body, reply.status, reply.body.error.code]).toEqual([path, body, status, code]);
      if (field !== undefined) expect(reply.body.error.details[0].field).toBe(field);
    }
    expect(await pairOf(name)).toEqual([1, 1]);
  });
});
