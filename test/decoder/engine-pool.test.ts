import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { CatalogActivation, ModelRef, SetSnapshot } from '../../src/decoder/activation.js';
import { EngineClient, type EngineClientOptions } from '../../src/decoder/engine-client.js';
import {
  type EngineIsolation,
  engineStarter,
  processStarter,
  type StartEngine,
  type StartProcess,
} from '../../src/decoder/engine-port.js';
import { monotonicMs } from '../../src/decoder/monotonic-ms.js';
import type { EspalierError } from '../../src/errors.js';
import { CatalogSnapshot, ChangeLog, openCatalogFile } from '../../src/static-trie/index.js';
import { query } from '../helpers/query.js';
import { smallActivation } from '../helpers/small-activation.js';

const script = new URL('../../dist/decoder/engine-worker.js', import.meta.url);
const folder = (name: string) => new URL(`../fixtures/engine-models/${name}/1`, import.meta.url).pathname;
/** A history of two items: what the models of this folder fail on. */
const BAD = ['0-0', '1-1'];

/** A folder with the slow model, whose loop has no end in sight, and which reads two items when it is opened. */
function hangingModel(): ModelRef {
  const copy = mkdtempSync(join(tmpdir(), 'espalier-hanging-'));
  cpSync(folder('slow'), copy, { recursive: true });
  const bytes = readFileSync(join(copy, 'model.onnx'));
  const loops = Buffer.alloc(8);
  loops.writeBigInt64LE(4_000n);
  bytes.writeBigInt64LE(1n << 40n, bytes.indexOf(loops));
  writeFileSync(join(copy, 'model.onnx'), bytes);
  const manifest = JSON.parse(readFileSync(join(copy, 'model.json'), 'utf8'));
  const context = { ...manifest.context, maxItems: 2 };
  writeFileSync(join(copy, 'model.json'), JSON.stringify({ ...manifest, context }));
  return { name: 'hanging', version: 1, folder: copy };
}

const clients: EngineClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

/** A copy of a model, for tests that spoil it. */
function copiedModel(name: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'espalier-model-'));
  cpSync(folder(name), copy, { recursive: true });
  return copy;
}

/** Another model than before, by its fingerprint. */
function changeManifest(model: string): void {
  const path = join(model, 'model.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...manifest, tokens: { ...manifest.tokens, bos: 0 } }));
}

async function startClient(
  model: string,
  isolation: EngineIsolation,
  options: Partial<EngineClientOptions> = {},
  fields: Partial<CatalogActivation> = {},
): Promise<{ client: EngineClient; failures: EspalierError[] }> {
  expect(existsSync(script), 'npm run build makes what engines run').toBe(true);
  const failures: EspalierError[] = [];
  const engineOptions = { threads: 1, stepThreads: 1, prefillCacheBytes: 0 };
  const client = new EngineClient({
    ...engineOptions,
    isolation,
    engineCount: 1,
    queueLimit: 100,
    maxBatchRows: 64,
    maxBatchWaitMs: 0,
    hangTimeoutMs: 60_000,
    modelOpenTimeoutMs: 60_000,
    onFailure: (error) => failures.push(error),
    start: engineStarter(isolation, engineOptions, script),
    startTrial: processStarter(engineOptions, script),
    ...options,
  });
  clients.push(client);
  await client.prepareCatalog({ ...(await smallActivation(folder(model))), ...fields });
  await client.commitCatalog('small');
  return { client, failures };
}

const refOf = (name: string): ModelRef => ({ name, version: 1, folder: folder(name) });
const trialOptions = { threads: 1, stepThreads: 1, prefillCacheBytes: 0 };

const ask = (client: EngineClient, history: string[], fields = {}) =>
  client.recommend(query({ catalog: 'small', history, k: 3, beamWidth: 6, ...fields }));

describe.each(['thread', 'process'] as const)('an engine in a %s', (isolation) => {
  it('that fails costs its own batch only, and is replaced by one that serves the same', async () => {
    const { client, failures } = await startClient('failing', isolation);
    const before = await ask(client, ['0-0']);
    expect(before.items).toHaveLength(3);
    const bad = ask(client, BAD);
    const next = ask(client, ['0-0']);
    await expect(bad).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED', statusCode: 503 });
    expect((await next).items).toEqual(before.items);
    expect(failures.map(({ code }) => code)).toEqual(['ESP_ENGINE_FAILED']);
    expect(client.engineCount).toBe(1);
  });

  it('fails every time that a request makes it, and serves every time in between', async () => {
    const { client, failures } = await startClient('failing', isolation, { engineCount: 2 });
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const isBad = index % 4 === 3;
        const answer = ask(client, isBad ? BAD : ['1-2'], { requestId: `r${index}` });
        return answer.then(({ items }) => items.length).catch(({ code }) => code);
      }),
    );
    // Requests that decode with a bad one share its fate; those that don't are answered.
    outcomes.forEach((outcome, index) => {
      expect(index % 4 === 3 ? ['ESP_ENGINE_FAILED'] : [3, 'ESP_ENGINE_FAILED']).toContain(outcome);
    });
    expect((await ask(client, ['1-2'])).items).toHaveLength(3);
    expect(failures.length).toBeGreaterThanOrEqual(1);
  });

  it('ends a request at its deadline while the model is at work, and then goes on', async () => {
    const { client, failures } = await startClient('slow', isolation);
    const deadlineAtMs = monotonicMs() + 100;
    await expect(ask(client, BAD, { deadlineAtMs })).rejects.toMatchObject({ code: 'ESP_TIMEOUT' });
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
    expect(failures).toEqual([]);
  });

  it('is never ended while it is busy: closing waits for the batch under way', async () => {
    const { client } = await startClient('slow', isolation);
    const answer = ask(client, BAD);
    const closed = client.close();
    expect((await answer).items).toHaveLength(3);
    await closed;
  });

  it('answers while a model is tried that hangs, and the model is refused', async () => {
    const ends: string[] = [];
    const startTrial: StartProcess = (onExit) =>
      processStarter(
        trialOptions,
        script,
      )((error) => {
        ends.push(error.message);
        onExit(error);
      });
    const options = { startTrial, modelOpenTimeoutMs: 4_000 };
    const { client, failures } = await startClient('failing', isolation, options);
    let isTried = false;
    const model = hangingModel();
    const loading = client.loadModel(model).finally(() => {
      isTried = true;
    });
    const refused = expect(loading).rejects.toMatchObject({
      code: 'ESP_MODEL_TIMEOUT',
      details: [{ field: 'model', expected: expect.stringContaining('4000 ms') }],
    });
    for (let asked = 0; asked < 10; asked++) {
      expect((await ask(client, ['0-0'])).items).toHaveLength(3);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(isTried).toBe(false);
    await refused;
    while (ends.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(ends).toEqual(['a child process ended by SIGKILL']);
    expect(await client.openModels()).not.toContain(model.folder);
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
    expect(failures).toEqual([]);
  });
});

describe('models that are opened while engines serve', () => {
  it('are opened by one engine after the other, which get no batch meanwhile, as the trial found them', async () => {
    const faults: string[] = [];
    const trials: unknown[] = [];
    let opening = 0;
    let answeredMeanwhile = 0;
    const start = engineStarter('thread', trialOptions, script);
    const { client } = await startClient('failing', 'thread', {
      engineCount: 2,
      start(onExit, onEvent) {
        const engine = start(onExit, onEvent);
        let isOpening = false;
        return {
          ...engine,
          async loadModel(ref, tried) {
            if (++opening > 1) faults.push('two engines at once');
            isOpening = true;
            trials.push(tried);
            const loaded = await engine.loadModel(ref, tried);
            // As long as a large model takes, or until a request was answered.
            const before = answeredMeanwhile;
            for (let waits = 0; waits < 400 && before === answeredMeanwhile; waits++) {
              await new Promise((resolve) => setTimeout(resolve, 5));
              if (trials.length <= 2) break;
            }
            isOpening = false;
            opening--;
            return loaded;
          },
          async recommendBatch(queries) {
            if (isOpening) faults.push('a batch behind a model');
            return engine.recommendBatch(queries);
          },
        };
      },
    });
    trials.length = 2;
    let isDone = false;
    const asking = (async () => {
      while (!isDone) {
        const meanwhile = opening > 0;
        await ask(client, ['0-0']);
        if (meanwhile) answeredMeanwhile++;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    const slow = { ...(await smallActivation(folder('slow'))), version: 2 };
    await client.prepareCatalog(slow);
    await client.commitCatalog('small');
    isDone = true;
    await asking;
    expect(faults).toEqual([]);
    expect(answeredMeanwhile).toBeGreaterThanOrEqual(2);
    expect(trials.slice(2)).toEqual(
      new Array(2).fill(
        expect.objectContaining({ probe: { vocabSize: 7, batchesRagged: expect.any(Boolean) } }),
      ),
    );
    expect((await ask(client, ['0-0'])).versions.catalog).toBe(2);
  });

  it('fail alone where they end the process that tries them', async () => {
    const startTrial: StartProcess = (onExit) => {
      const engine = processStarter(trialOptions, script)(onExit);
      engine.kill();
      return engine;
    };
    const { client, failures } = await startClient('failing', 'thread', { startTrial });
    await expect(client.tryModel(refOf('slow'))).rejects.toMatchObject({
      code: 'ESP_ENGINE_FAILED',
      message: 'model slow, while it was tried: a child process ended by SIGKILL',
    });
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
    expect(failures).toEqual([]);
  });
});

describe('the first model of an engine in a process', () => {
  it('is refused where it hangs, and the engine is replaced', async () => {
    const { client, failures } = await startClient('failing', 'process', { modelOpenTimeoutMs: 6_000 });
    await client.removeCatalog('small');
    await expect(client.loadModel(hangingModel())).rejects.toMatchObject({ code: 'ESP_MODEL_TIMEOUT' });
    expect(failures.map(({ code }) => code)).toEqual(['ESP_ENGINE_FAILED']);
    while (client.engineCount === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await client.prepareCatalog(await smallActivation(folder('failing')));
    await client.commitCatalog('small');
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
  });
});

describe('an engine in a process', () => {
  it('that is killed amid a batch costs that batch, and is replaced', async () => {
    const kills: (() => void)[] = [];
    const engineOptions = { threads: 1, stepThreads: 1, prefillCacheBytes: 0 };
    const start = engineStarter('process', engineOptions, script);
    const { client, failures } = await startClient('slow', 'process', {
      start(onExit) {
        const engine = start(onExit);
        kills.push(() => engine.kill!());
        return engine;
      },
    });
    const before = await ask(client, ['0-0']);
    const lost = ask(client, BAD);
    const next = ask(client, ['0-0']);
    setTimeout(kills[0], 200);
    await expect(lost).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    expect((await next).items).toEqual(before.items);
    expect(failures).toHaveLength(1);
    expect(failures[0].message).toContain('SIGKILL');
    expect(kills).toHaveLength(2);
  });

  it('answers when its wall clock is an hour ahead of this process', async () => {
    const before = process.env.NODE_OPTIONS;
    const shift = 'Object.defineProperty(performance,"timeOrigin",{value:performance.timeOrigin+3600000})';
    process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(shift)}`;
    try {
      const { client } = await startClient('failing', 'process');
      const { items, timings } = await ask(client, ['0-0'], { deadlineAtMs: monotonicMs() + 20_000 });
      expect(items).toHaveLength(3);
      expect(timings.queueMs).toBeLessThan(20_000);
    } finally {
      if (before === undefined) delete process.env.NODE_OPTIONS;
      else process.env.NODE_OPTIONS = before;
    }
  });

  it('that hangs is killed and replaced', async () => {
    const { client, failures } = await startClient('slow', 'process', { hangTimeoutMs: 200 });
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
    expect(failures).toHaveLength(1);
  });
});

describe('an engine that starts later', () => {
  it('serves what was committed and put while it started', async () => {
    const { client } = await startClient('failing', 'thread');
    const other = { ...(await smallActivation(folder('slow'))), version: 2 };
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    // The replacement may still be on its way.
    while (client.engineCount === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await client.prepareCatalog(other);
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    await client.commitCatalog('small');
    expect((await ask(client, ['0-0'])).versions.catalog).toBe(2);
  });
});

describe('an engine that cannot be brought to all that serves', () => {
  interface Spoilt {
    path: string;
    log: string;
    model: string;
  }

  it.each<[what: string, code: string, spoil: (spoilt: Spoilt) => void]>([
    ['a damaged log of changes', 'ESP_ARTIFACT_CORRUPT', ({ log }) => writeFileSync(log, '{}\n')],
    ['a damaged file', 'ESP_ARTIFACT_CORRUPT', ({ path }) => writeFileSync(path, 'x')],
    ['a file that is gone', 'ESP_ARTIFACT_CORRUPT', ({ path }) => rmSync(path)],
    ['a model that is gone', 'ESP_MODEL_NOT_FOUND', ({ model }) => rmSync(model, { recursive: true })],
    ['another model', 'ESP_MODEL_MISFIT', ({ model }) => changeManifest(model)],
  ])('serves without the catalog that has %s, and no engine serves that', async (_, code, spoil) => {
    const lost: [string, string][] = [];
    const onCatalogLost = (catalog: string, error: EspalierError) => lost.push([catalog, error.code]);
    const { client } = await startClient('failing', 'thread', { engineCount: 2, onCatalogLost });
    const model = copiedModel('failing');
    const activation = await smallActivation(model);
    const log = `${activation.path}.log`;
    ChangeLog.open(log).append({ at: '2026-01-01T00:00:00.000Z', remove: ['0-1'] });
    const modelInfo = await client.loadModel(activation.model);
    const changes = { path: log, after: 0, upTo: 1 };
    await client.prepareCatalog({ ...activation, catalog: 'spoilt', changes, modelInfo });
    await client.commitCatalog('spoilt');
    expect((await ask(client, ['0-0'], { catalog: 'spoilt' })).items).toHaveLength(3);
    spoil({ path: activation.path, log, model });
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    while (client.engineCount < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(lost).toEqual([['spoilt', code]]);
    const three = [0, 1, 2].map(() =>
      ask(client, ['0-0'], { catalog: 'spoilt' }).catch((error) => error.code),
    );
    expect(await Promise.all(three)).toEqual(new Array(3).fill('ESP_CATALOG_INACTIVE'));
    expect((await ask(client, ['0-0'])).items).toHaveLength(3);
    await client.prepareCatalog({ ...(await smallActivation(folder('failing'))), catalog: 'spoilt' });
    await client.commitCatalog('spoilt');
    expect((await ask(client, ['0-0'], { catalog: 'spoilt' })).items).toHaveLength(3);
  });

  it('costs nothing of what is prepared for the catalog', async () => {
    const { client } = await startClient('failing', 'thread', { engineCount: 2 });
    const spoilt = { ...(await smallActivation(folder('failing'))), catalog: 'spoilt' };
    await client.prepareCatalog(spoilt);
    await client.commitCatalog('spoilt');
    const next = { ...(await smallActivation(folder('failing'))), catalog: 'spoilt', version: 2 };
    await client.prepareCatalog(next);
    rmSync(spoilt.path);
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    while (client.engineCount < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await client.commitCatalog('spoilt');
    expect(client.engineCount).toBe(2);
    expect((await ask(client, ['0-0'], { catalog: 'spoilt' })).versions.catalog).toBe(2);
  });
});

describe('an engine that ends under a call which is no batch', () => {
  it.each(['openCatalog', 'openModels', 'releaseModels', 'loadModel'] as const)(
    'is said to have failed: %s',
    async (method) => {
      const start = processStarter(trialOptions, script);
      let isDeadly = false;
      const { client, failures } = await startClient('failing', 'process', {
        start(...listeners) {
          const engine = start(...listeners);
          const call = engine[method] as (...args: unknown[]) => Promise<unknown>;
          const andDie = (...args: unknown[]) => {
            if (isDeadly) engine.kill();
            return call(...args);
          };
          return { ...engine, [method]: andDie };
        },
      });
      isDeadly = true;
      const activation = { ...(await smallActivation(copiedModel('failing'))), version: 2 };
      const calls: Record<typeof method, () => Promise<unknown>> = {
        openCatalog: () => client.prepareCatalog(activation),
        openModels: () => client.openModels(),
        releaseModels: () => client.releaseModels([]),
        loadModel: () => client.loadModel(activation.model),
      };
      await expect(calls[method]()).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED', statusCode: 503 });
      isDeadly = false;
      expect(failures.map(({ code }) => code)).toEqual(['ESP_ENGINE_FAILED']);
      while (client.engineCount === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      expect((await ask(client, ['0-0'])).versions.catalog).toBe(1);
    },
  );
});

describe('engines that cannot all follow', () => {
  it('refuse a model that is not the one that was activated', async () => {
    const { client } = await startClient('failing', 'thread');
    const activation = await smallActivation(folder('slow'));
    const modelInfo = await client.loadModel(activation.model);
    await client.prepareCatalog({ ...activation, modelInfo });
    const other = { ...modelInfo, fingerprint: 'another', vocabSize: 9 };
    await expect(client.prepareCatalog({ ...activation, modelInfo: other })).rejects.toMatchObject({
      code: 'ESP_MODEL_MISFIT',
      details: [{ field: 'vocabSize', expected: '9', found: '7' }],
    });
  });

  it('keep serving what they did', async () => {
    const { client } = await startClient('failing', 'thread', { engineCount: 2 });
    const nowhere = { ...(await smallActivation(folder('nowhere'))), version: 2 };
    await expect(client.prepareCatalog(nowhere)).rejects.toMatchObject({ code: 'ESP_MODEL_NOT_FOUND' });
    await expect(client.commitCatalog('small')).rejects.toMatchObject({ code: 'ESP_INTERNAL' });
    expect((await ask(client, ['0-0'])).versions.catalog).toBe(1);
  });
});

describe('small changes', () => {
  const at = '2026-01-01T00:00:00.000Z';
  const ids = async (client: EngineClient, constraint = {}) => {
    const { items } = await ask(client, ['0-0'], { k: 6, constraint });
    return items.map(({ id }) => id).sort();
  };

  async function startChanging(isolation: EngineIsolation, options: Partial<EngineClientOptions> = {}) {
    const path = join(mkdtempSync(join(tmpdir(), 'espalier-pool-')), 'changes.log');
    const activation = await smallActivation(folder('failing'));
    const fresh = CatalogSnapshot.of(openCatalogFile(activation.path), { price: { type: 'double' } });
    /** As it is before any change. */
    const cheap = (name: string, changesUpTo = 0): SetSnapshot => {
      const truth = { kind: 'rule', rule: 'price < 2.0', params: {} } as const;
      const { set, rule } = fresh.withSet(name, truth, 0).sets.get(name)!;
      return { name, catalogVersion: 1, version: 1, rule, changesUpTo, set, expiresAtMs: null };
    };
    const sets = [cheap('cheap'), cheap('other')];
    const changes = { path, after: 0, upTo: 0 };
    const { client } = await startClient('failing', isolation, options, { sets, changes });
    return { client, log: ChangeLog.open(path), cheap, activation: { ...activation, sets, changes } };
  }

  /** Every engine that serves afterwards has started since. */
  async function replaceEngine(client: EngineClient): Promise<void> {
    await expect(ask(client, BAD)).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
  }

  it.each(['thread', 'process'] as const)(
    'are in force in an engine in a %s that replaces one',
    async (isolation) => {
      const { client, log, cheap } = await startChanging(isolation);
      log.append({ at, remove: ['0-1'] });
      expect(await client.applyChanges('small', 1)).toEqual({ sets: [], removedItems: 1 });
      log.append({ at, update: [{ id: '1-2', attributes: { price: 0.5 } }] });
      await client.deleteSet('small', 'other');
      expect(await client.applyChanges('small', 2)).toEqual({
        sets: [{ name: 'cheap', items: 3, leaves: 3 }],
        removedItems: 1,
      });
      // Its bitmaps were evaluated before the second change.
      await client.putSet('small', cheap('late', 1));
      const expectState = async () => {
        expect(await ids(client)).toEqual(['0-0', '0-2', '1-0', '1-1', '1-2']);
        expect(await ids(client, { set: 'cheap' })).toEqual(['0-0', '1-2']);
        expect(await ids(client, { set: 'late' })).toEqual(['0-0', '1-2']);
        expect(await ids(client, { filter: 'price < 1.0' })).toEqual(['0-0', '1-2']);
        await expect(ids(client, { set: 'other' })).rejects.toMatchObject({ code: 'ESP_SET_NOT_FOUND' });
      };
      await expectState();
      await replaceEngine(client);
      await expectState();
    },
  );

  it('come into force while no engine serves, while one starts, and between preparing and committing', async () => {
    const { client, log, activation } = await startChanging('thread');
    await replaceEngine(client);
    log.append({ at, remove: ['0-1'] });
    await client.applyChanges('small', 1);
    expect(await ids(client)).not.toContain('0-1');
    const preparing = client.prepareCatalog({ ...activation, version: 2, sets: [] });
    log.append({ at, remove: ['0-2'] });
    await client.applyChanges('small', 2);
    await preparing;
    log.append({ at, remove: ['1-0'] });
    await client.applyChanges('small', 3);
    await client.commitCatalog('small');
    expect(await ids(client)).toEqual(['0-0', '1-1', '1-2']);
    await replaceEngine(client);
    expect(await ids(client)).toEqual(['0-0', '1-1', '1-2']);
  });

  it.each(['openCatalog', 'openSets', 'prepareCatalog'] as const)(
    'come into force in what is prepared, also when they come after %s',
    async (method) => {
      const start = engineStarter('thread', trialOptions, script);
      let onCalled = async () => {};
      const watched: StartEngine = (...listeners) => {
        const engine = start(...listeners);
        const call = engine[method] as (...args: unknown[]) => Promise<void>;
        const andThen = async (...args: unknown[]) => {
          await call(...args);
          await onCalled();
        };
        return { ...engine, [method]: andThen };
      };
      const { client, log, activation } = await startChanging('thread', { start: watched });
      onCalled = async () => {
        onCalled = async () => {};
        log.append({ at, remove: ['0-2'], update: [{ id: '1-2', attributes: { price: 0.5 } }] });
        await client.applyChanges('small', 1);
      };
      const sets = activation.sets.map((set) => ({ ...set, catalogVersion: 2 }));
      await client.prepareCatalog({ ...activation, version: 2, sets });
      await client.commitCatalog('small');
      expect(await ids(client)).toEqual(['0-0', '0-1', '1-0', '1-1', '1-2']);
      expect(await ids(client, { set: 'cheap' })).toEqual(['0-0', '0-1', '1-2']);
    },
  );

  it('that cannot be read end the catalog, and no other', async () => {
    const lost: string[] = [];
    const onCatalogLost = (catalog: string, { code }: EspalierError) => lost.push(`${catalog}: ${code}`);
    const { client, activation } = await startChanging('thread', { engineCount: 2, onCatalogLost });
    const path = `${activation.changes.path}.other`;
    await client.prepareCatalog({ ...activation, catalog: 'other', changes: { path, after: 0, upTo: 0 } });
    await client.commitCatalog('other');
    // Nobody has written the change.
    await expect(client.applyChanges('small', 1)).rejects.toMatchObject({ code: 'ESP_ARTIFACT_CORRUPT' });
    await expect(ids(client)).rejects.toMatchObject({ code: 'ESP_CATALOG_INACTIVE' });
    expect(client.engineCount).toBe(2);
    expect(lost).toEqual(['small: ESP_ARTIFACT_CORRUPT']);
    expect((await ask(client, ['0-0'], { catalog: 'other' })).items).toHaveLength(3);
  });

  it('need a log', async () => {
    const { client } = await startClient('failing', 'thread');
    await expect(client.applyChanges('small', 1)).rejects.toMatchObject({ code: 'ESP_INTERNAL' });
    expect(await ids(client)).toHaveLength(6);
  });

  it('end with the catalog: it serves no more, not even on an engine that was about to', async () => {
    const { client } = await startChanging('thread', { engineCount: 2 });
    await replaceEngine(client);
    await client.removeCatalog('small');
    await expect(ids(client)).rejects.toMatchObject({ code: 'ESP_CATALOG_INACTIVE' });
    while (client.engineCount < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const both = await Promise.allSettled([ids(client), ids(client), ids(client)]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await client.releaseModels([]);
    expect(await client.openModels()).toEqual([]);
  });
});
