import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, makeModelsDir, send, startTestServer, upload } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog, SETS, sid } from '../helpers/small-server.js';

/** No answer tells where things lie on the server's machine, or in its code. */

const dataDir = makeDataDir();
const models = makeModelsDir();
const answers: string[] = [];
let server: ServerProcess;

beforeAll(async () => {
  brokenModels();
  server = await startTestServer(dataDir, [], models);
  await makeSmallCatalog(server);
  await upload(server, 'small', items);
});
afterAll(() => server.stop());

/** Models that fail in every way that a folder of them may. */
function brokenModels(): void {
  const put = (name: string, manifest: string, model?: string) => {
    mkdirSync(join(models, name, '1'), { recursive: true });
    writeFileSync(join(models, name, '1', 'model.json'), manifest);
    if (model !== undefined) writeFileSync(join(models, name, '1', 'model.onnx'), model);
  };
  const manifest = (name: string, file = 'model.onnx') =>
    JSON.stringify({
      name,
      contract: 'logits',
      files: { model: file },
      sid,
      tokens: { bos: 0, levelOffsets: [1, 3] },
    });
  put('no-json', '{');
  put('no-fields', '{}');
  put('no-file', manifest('no-file'));
  put('no-onnx', manifest('no-onnx'), 'x');
  put('elsewhere', manifest('elsewhere', '../../table/1/model.onnx'));
  put('other-name', manifest('another'), 'x');
  mkdirSync(join(models, 'no-manifest', '1'), { recursive: true });
  mkdirSync(join(models, 'folder', '1', 'model.json'), { recursive: true });
}

async function ask(method: string, path: string, body?: unknown, contentType?: string): Promise<number> {
  const { status, body: answer } = await send(server, method, path, body, contentType);
  answers.push(JSON.stringify({ asked: `${method} ${path}`, answer }));
  return status;
}

function expectNoPaths(count: number): void {
  expect(answers.length).toBeGreaterThanOrEqual(count);
  const told = answers.filter(
    (answer) =>
      [dataDir, models, process.cwd(), 'node_modules', 'node:', '.js:'].some((part) =>
        answer.includes(part),
      ) ||
      /\bat .+\.(js|ts)\b/.test(answer) ||
      /(^|[\s"'(:])\/(tmp|work|root|home|usr|var)\//.test(answer),
  );
  expect(told).toEqual([]);
  answers.length = 0;
}

/** All files of the data directory whose path has a part. */
function filesWith(part: string): string[] {
  const all = readdirSync(dataDir, { recursive: true }) as string[];
  return all
    .map((file) => join(dataDir, file))
    .filter((path) => path.includes(part) && statSync(path).isFile());
}

it('tells nothing about models that do not load', async () => {
  const names = readdirSync(models);
  for (const name of [...names, 'missing', '..', '%2e%2e%2f', 'a%2fb']) {
    await ask('GET', `/v1/models/${name}`);
    await ask('POST', `/v1/models/${name}/load`, {});
    await ask('PUT', `/v1/catalogs/of-${name.replaceAll('%', '')}`, { model: name, sid, attributes });
  }
  await ask('GET', '/v1/models');
  expectNoPaths(40);
});

it('tells nothing about requests that fail', async () => {
  for (const body of [
    '{',
    '[]',
    '',
    { catalog: 'small' },
    { catalog: 'none', history: [] },
    '\u0000',
    '{"__proto__":{}}',
  ]) {
    await ask('POST', '/v1/recommend', body);
    await ask('PUT', '/v1/catalogs/x', body);
    await ask('PUT', `${SETS}/x`, body);
    await ask('POST', '/v1/aliases', body);
  }
  for (const type of [
    'application/x-ndjson',
    'text/csv',
    'application/vnd.apache.parquet',
    'application/vnd.apache.arrow.stream',
  ]) {
    for (const body of ['x', '{', '\u0000\u0001', 'PAR1xxxxPAR1']) {
      const { body: answer } = await send(server, 'POST', '/v1/catalogs/small/versions', body, type);
      answers.push(JSON.stringify(answer));
      if (answer.job === undefined) continue;
      for (let state = 'queued'; state === 'queued' || state === 'running'; ) {
        const { body: job } = await send(server, 'GET', `/v1/jobs/${answer.job.id}`);
        state = job.job.state;
        if (state === 'failed') answers.push(JSON.stringify(job));
      }
    }
  }
  await ask('GET', `/${'%2e%2e/'.repeat(20)}x/y`);
  await ask('GET', '/docs/static/../../../x/y');
  await ask('GET', '/docs/static/missing.js');
  await ask('OPTIONS', '/v1/recommend');
  expectNoPaths(30);
});

it('tells nothing about files that are damaged or gone', async () => {
  const versions = filesWith('catalogs').filter((path) => /\/2\//.test(path) || /versions/.test(path));
  expect(versions.length).toBeGreaterThan(0);
  for (const path of versions.filter((one) => !one.endsWith('version.json'))) writeFileSync(path, 'damaged');
  await ask('POST', '/v1/catalogs/small/versions/2/activate');
  for (const path of versions) rmSync(path, { force: true });
  await ask('POST', '/v1/catalogs/small/versions/2/activate');
  await ask('POST', '/v1/catalogs/small/versions/1/activate');
  await ask('POST', '/v1/catalogs/small/rollback', {});
  await ask('GET', '/v1/catalogs/small/versions');
  await ask('PATCH', '/v1/catalogs/small/items', { remove: ['0-0'] });
  await ask('GET', '/v1/catalogs/small/items/0-1');
  await ask('PUT', `${SETS}/later`, { rule: 'price < 2.0' });
  await ask('GET', '/readyz');
  await server.stop();
  for (const path of filesWith('catalog.json')) writeFileSync(path, '{');
  server = await startTestServer(dataDir, [], models);
  await ask('GET', '/readyz');
  await ask('GET', '/v1/catalogs');
  await ask('GET', '/v1/catalogs/small');
  await ask('POST', '/v1/recommend', { catalog: 'small', history: [] });
  await ask('PUT', '/v1/catalogs/small', { model: 'table', sid, attributes });
  await ask('DELETE', '/v1/catalogs/small');
  expectNoPaths(10);
});
