import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { errorCatalogue } from '../../src/errors.js';
import { needOf } from '../../src/server/security/route-scopes.js';
import { codesOf, expectDocumented, templateOf } from '../helpers/documented-errors.js';
import { endOf, makeDataDir, startTestServer } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog } from '../helpers/small-server.js';

/** The server against its own document: every route, in success and in failure. */

// biome-ignore lint/suspicious/noExplicitAny: the document, and answers of every shape.
type Json = any;

let server: ServerProcess;
let document: Json;
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
const visited = new Set<string>();
const seenCodes = new Set<string>();

beforeAll(async () => {
  server = await startTestServer(makeDataDir(), [
    '--body-limit-bytes',
    '4096',
    '--upload-limit-bytes',
    '4096',
  ]);
  document = await (await fetch(`${server.url}/openapi.json`)).json();
  await makeSmallCatalog(server);
});
afterAll(() => server?.stop());

/** Their 503 says that something is not ready, and is no error. */
const READINESS = ['/readyz', '/v2/health/ready'];

const operationsOf = (spec: Json) =>
  Object.entries<Json>(spec.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );

/** Sends a request, and holds the answer against what the document says of it. */
async function drive(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}${path}`, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const template = templateOf(document, path)!;
  expect(template, `${path} is in the document`).toBeDefined();
  const operation = document.paths[template][method.toLowerCase()];
  const name = `${method} ${template}`;
  const documented = operation.responses[response.status];
  expect(documented, `${name} documents ${response.status}`).toBeDefined();
  visited.add(name);
  if (text === '') return { status: response.status, body: undefined };
  const [type] = response.headers.get('content-type')!.split(';');
  const content = documented.content?.[type];
  expect(content, `${name} documents ${response.status} as ${type}`).toBeDefined();
  if (type !== 'application/json') return { status: response.status, body: text };
  const json = JSON.parse(text);
  const isValid = ajv.validate(content.schema, json);
  expect(isValid, `${name} ${response.status}: ${ajv.errorsText()} in ${text}`).toBe(true);
  await expectDocumented(server, method, path, response.status, json);
  if (json.error !== undefined) seenCodes.add(json.error.code);
  return { status: response.status, body: json };
}

async function expectStatus(status: number, ...request: Parameters<typeof drive>): Promise<Json> {
  const answer = await drive(...request);
  expect(answer.status, `${request[0]} ${request[1]}: ${JSON.stringify(answer.body)}`).toBe(status);
  return answer.body;
}

const C = '/v1/catalogs/small';
const ndjson = { 'content-type': 'application/x-ndjson' };
const lines = items.map((item) => JSON.stringify(item)).join('\n');

describe('the document', () => {
  it('is OpenAPI 3.1', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    expect(errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  it('has every error under its status, with its meaning, and no status without one', () => {
    const codes = Object.entries(errorCatalogue);
    for (const [path, methods] of Object.entries<Json>(document.paths)) {
      for (const [method, { responses }] of Object.entries<Json>(methods)) {
        for (const [status, response] of Object.entries<Json>(responses)) {
          const found = codesOf(response);
          if (Number(status) < 400 || READINESS.includes(path)) continue;
          const what = `${method} ${path} ${status}`;
          expect(found, what).not.toEqual([]);
          const expected = codes.filter(([code]) => found.includes(code));
          expect(
            expected.map(([code]) => code),
            what,
          ).toEqual(found);
          for (const [code, { statusCode, summary }] of expected) {
            expect([statusCode, response.description], what).toEqual([
              Number(status),
              expect.stringContaining(`\`${code}\`: ${summary}`),
            ]);
          }
        }
      }
    }
  });

  it('tells what a key and its scope are needed for, and what a route without one cannot answer', () => {
    for (const [path, methods] of Object.entries<Json>(document.paths)) {
      for (const [method, { security, responses }] of Object.entries<Json>(methods)) {
        const need = needOf(method.toUpperCase(), path.replaceAll(/\{(\w+)\}/g, ':$1'));
        const scopes = need === 'anyKey' ? [] : [need];
        expect(security, `${method} ${path}`).toEqual(need === 'open' ? [] : [{ apiKey: scopes }]);
        expect(responses[401] !== undefined, `${method} ${path}`).toBe(need !== 'open');
      }
    }
  });
});

describe('the server', () => {
  it('recommends as documented', async () => {
    const request = {
      catalog: 'small',
      history: [],
      k: 2,
      attributes: ['price'],
      explain: { items: ['0-0'] },
    };
    await expectStatus(200, 'POST', '/v1/recommend', request);
    await expectStatus(200, 'POST', '/v1/recommend', { ...request, constraint: { filter: 'false' } });
    const bad: [number, unknown][] = [
      [400, '{'],
      [400, { ...request, k: 0 }],
      [400, { ...request, beamWidth: 1 }],
      [400, { ...request, attributes: ['size'] }],
      [400, { ...request, constraint: { filter: 'price >' } }],
      [400, { ...request, constraint: { filter: 'size > 1' } }],
      [400, { ...request, constraint: { filter: 'price' } }],
      [404, { ...request, catalog: 'none' }],
      [404, { ...request, constraint: { set: 'none' } }],
      [413, { ...request, history: [' '.repeat(5_000)] }],
    ];
    for (const [status, body] of bad) await expectStatus(status, 'POST', '/v1/recommend', body);
    await expectStatus(415, 'POST', '/v1/recommend', 'x', { 'content-type': 'text/plain' });
    await expectStatus(200, 'POST', '/v1/recommend/batch', { requests: [request, { catalog: 'none' }] });
    await expectStatus(400, 'POST', '/v1/recommend/batch', { requests: [] });
  });

  it('answers in bulk as documented', async () => {
    const bulk = '/v1/bulk-recommendations';
    const request = JSON.stringify({ catalog: 'small', history: [] });
    await expectStatus(200, 'POST', bulk, `${request}\n{`, ndjson);
    await expectStatus(415, 'POST', bulk, '{}');
    const { job } = await expectStatus(202, 'POST', `${bulk}/jobs`, request, ndjson);
    await expectStatus(415, 'POST', `${bulk}/jobs`, '{}');
    expect((await endOf(server, job.id)).state).toBe('succeeded');
    const output = `${bulk}/jobs/${job.id}/output`;
    await expectStatus(200, 'GET', output);
    await expectStatus(206, 'GET', output, undefined, { range: 'bytes=1-4' });
    await expectStatus(416, 'GET', output, undefined, { range: 'bytes=99999-' });
    await expectStatus(204, 'DELETE', output);
    await expectStatus(404, 'GET', output);
  });

  it('writes down changes as documented', async () => {
    const { entries } = await expectStatus(200, 'GET', '/v1/audit?limit=5');
    expect(entries.length).toBeGreaterThan(0);
    await expectStatus(400, 'GET', '/v1/audit?limit=0');
  });

  it('keeps catalogs, versions and items as documented', async () => {
    const catalog = { model: 'table', sid: { codebookSizes: [2, 3] }, attributes };
    await expectStatus(201, 'PUT', '/v1/catalogs/other', catalog);
    await expectStatus(200, 'PUT', '/v1/catalogs/other', catalog);
    await expectStatus(400, 'PUT', '/v1/catalogs/other', { ...catalog, sid: {} });
    await expectStatus(404, 'PUT', '/v1/catalogs/other', { ...catalog, model: 'none' });
    await expectStatus(409, 'PUT', C, { ...catalog, attributes: {} });
    await expectStatus(412, 'DELETE', '/v1/catalogs/other', undefined, { 'if-match': '"x"' });
    await expectStatus(409, 'POST', '/v1/recommend', { catalog: 'other', history: [] });
    await expectStatus(200, 'GET', '/v1/catalogs');
    await expectStatus(400, 'GET', '/v1/catalogs?x=1');
    await expectStatus(200, 'GET', C);
    await expectStatus(404, 'GET', '/v1/catalogs/none');
    await expectStatus(204, 'DELETE', '/v1/catalogs/other');
    await expectStatus(200, 'GET', `${C}/items/0-0`);
    await expectStatus(404, 'GET', `${C}/items/none`);
    await expectStatus(200, 'PATCH', `${C}/items`, { update: [{ id: '0-0', price: 3 }] });
    await expectStatus(400, 'PATCH', `${C}/items`, {});
    const added = { id: 'new', sid: [0, 0], price: 1, colour: 'red' };
    const { job } = await expectStatus(202, 'PATCH', `${C}/items`, { add: [added] });
    await endOf(server, job.id);
    const built = await expectStatus(202, 'POST', `${C}/versions?activate=true`, lines, ndjson);
    expect((await endOf(server, built.job.id)).state).toBe('succeeded');
    const failed = await expectStatus(202, 'POST', `${C}/versions`, '{"id": 1}', ndjson);
    expect((await endOf(server, failed.job.id)).state).toBe('failed');
    await expectStatus(200, 'GET', `/v1/jobs/${failed.job.id}`);
    await expectStatus(415, 'POST', `${C}/versions`, 'x', { 'content-type': 'image/png' });
    await expectStatus(413, 'POST', `${C}/versions`, ' '.repeat(5_000), ndjson);
    await expectStatus(404, 'POST', '/v1/catalogs/none/versions', lines, ndjson);
    await expectStatus(200, 'GET', `${C}/versions`);
    await expectStatus(200, 'POST', `${C}/rollback`);
    await expectStatus(404, 'POST', `${C}/rollback`, { version: 99 });
    await expectStatus(200, 'POST', `${C}/versions/1/activate`);
    await expectStatus(404, 'POST', `${C}/versions/99/activate`);
    await expectStatus(400, 'POST', `${C}/versions/x/activate`);
  });

  it('keeps constraint sets and aliases as documented', async () => {
    const set = `${C}/constraint-sets/red`;
    const rule = { rule: 'colour == params.colour', params: { colour: 'red' }, refreshSeconds: 60 };
    await expectStatus(201, 'PUT', set, rule);
    await expectStatus(200, 'PUT', set, { rule: 'false' });
    await expectStatus(400, 'PUT', set, { rule: 'colour ==' });
    await expectStatus(200, 'GET', set);
    await expectStatus(404, 'GET', `${C}/constraint-sets/none`);
    await expectStatus(200, 'GET', `${C}/constraint-sets`);
    await expectStatus(200, 'POST', `${set}/rollback`);
    await expectStatus(200, 'POST', `${set}/activate`, { version: 2 });
    await expectStatus(404, 'POST', `${set}/activate`, { version: 99 });
    await expectStatus(400, 'POST', `${set}/activate`, {});
    const list = await expectStatus(
      202,
      'POST',
      `${C}/constraint-sets/list/versions?activate=true`,
      '"0-0"',
      ndjson,
    );
    expect((await endOf(server, list.job.id)).state).toBe('succeeded');
    await expectStatus(200, 'GET', `${C}/constraint-sets/list`);
    await expectStatus(200, 'POST', `${C}/constraint-sets/preview`, { rule: 'price > 0.0' });
    await expectStatus(400, 'POST', `${C}/constraint-sets/preview`, {});
    const alias = { alias: 'now', catalog: 'small', constraintSet: 'red' };
    await expectStatus(200, 'POST', '/v1/aliases', { actions: [{ set: alias }] });
    await expectStatus(404, 'POST', '/v1/aliases', { actions: [{ delete: { alias: 'none' } }] });
    await expectStatus(409, 'POST', '/v1/aliases', { actions: [{ set: { ...alias, alias: 'red' } }] });
    await expectStatus(200, 'GET', '/v1/aliases');
    await expectStatus(409, 'DELETE', set);
    await expectStatus(204, 'DELETE', `${C}/constraint-sets/list`);
  });

  it('tells of models, jobs and itself as documented', async () => {
    await expectStatus(200, 'GET', '/v1/models');
    await expectStatus(200, 'GET', '/v1/models/table');
    await expectStatus(404, 'GET', '/v1/models/none');
    await expectStatus(200, 'POST', '/v1/models/table/load');
    await expectStatus(422, 'POST', '/v1/models/wrong-input-name/load');
    await expectStatus(200, 'GET', '/v1/models/wrong-input-name');
    const { jobs } = await expectStatus(200, 'GET', '/v1/jobs?limit=5');
    await expectStatus(400, 'GET', '/v1/jobs?limit=0');
    const { id } = jobs.at(-1);
    await expectStatus(200, 'GET', `/v1/jobs/${id}`);
    await expectStatus(200, 'GET', `/v1/jobs/${id}/events`);
    await expectStatus(404, 'GET', `/v1/jobs/${crypto.randomUUID()}`);
    await expectStatus(409, 'DELETE', `/v1/jobs/${id}`);
    for (const path of ['/healthz', '/readyz', '/metrics', '/v2', '/v2/health/live', '/v2/health/ready']) {
      await expectStatus(200, 'GET', path);
    }
    await expectStatus(200, 'GET', '/v2/models/table');
    await expectStatus(200, 'GET', '/v2/models/table/ready');
    await expectStatus(503, 'GET', '/v2/models/nan/ready');
    await expectStatus(404, 'GET', '/v2/models/none');
  });

  it('was asked for every route', () => {
    expect(operationsOf(document).filter((one) => !visited.has(one) && !one.startsWith('HEAD '))).toEqual([]);
    expect(seenCodes.size).toBeGreaterThan(15);
  });
});
