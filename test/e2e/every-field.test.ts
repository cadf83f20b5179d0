import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import type { ApiDocument } from '../helpers/fuzz/http-requests.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';
import { spoilFields } from '../helpers/spoil-fields.js';

/** Every field of every body, and every parameter, wrong in every way: one typed error that names it, and no change. */

type Routes = [name: string, operation: ApiDocument['paths'][string][string]][];

const query = { catalog: 'small', history: ['0-0'] };
const constraint = { set: 'red', filter: 'price > params.low', params: { low: 1 } };
const whole = {
  ...query,
  k: 2,
  beamWidth: 4,
  constraint: { ...constraint, exclude: ['1-1'] },
  attributes: ['price'],
  explain: { items: ['0-1'] },
  diversity: { attribute: 'price', max: 1 },
};
/** Right for each route, with a value in every list. */
const bodies: Record<string, unknown> = {
  'POST /v1/recommend': whole,
  'POST /v1/recommend/batch': { requests: [whole] },
  'PUT /v1/catalogs/{catalog}': {
    model: { name: 'table', version: 1 },
    sid: { codebookSizes: [2, 3] },
    attributes: { price: { type: 'double' } },
  },
  'PATCH /v1/catalogs/{catalog}/items': { remove: ['0-0'], update: [{ id: '0-1', price: 1 }], add: [] },
  'POST /v1/catalogs/{catalog}/rollback': { version: 1 },
  'PUT /v1/catalogs/{catalog}/constraint-sets/{set}': { rule: 'price > params.low', params: { low: 1 } },
  'POST /v1/catalogs/{catalog}/constraint-sets/{set}/activate': { version: 1 },
  'POST /v1/catalogs/{catalog}/constraint-sets/{set}/rollback': { version: 1 },
  'POST /v1/catalogs/{catalog}/constraint-sets/preview': { rule: 'price > 1.0' },
  'POST /v1/models/{model}/load': {},
  'POST /v1/aliases': { actions: [{ set: { alias: 'a', catalog: 'small', constraintSet: 'red' } }] },
};
const places: Record<string, string> = { catalog: 'small', set: 'red', model: 'table', version: '1' };
/** Nobody may guess the id of a job, and what it is asked about is checked first all the same. */
const pathOf = (route: string) =>
  route.replaceAll(/\{(\w+)\}/g, (_, name: string) => places[name] ?? 'nobody');

let server: ServerProcess;
let routes: Routes;

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await makeSmallCatalog(server);
  await putRule(server, 'red', 'colour == "red"');
  const { paths } = (await (await fetch(`${server.url}/openapi.json`)).json()) as ApiDocument;
  routes = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]): Routes[number] => [
      `${method.toUpperCase()} ${path}`,
      operation,
    ]),
  );
});
afterAll(() => server?.stop());

async function active() {
  const catalogs = (await send(server, 'GET', '/v1/catalogs')).body;
  const sets = (await send(server, 'GET', '/v1/catalogs/small/constraint-sets')).body;
  const aliases = (await send(server, 'GET', '/v1/aliases')).body;
  return { catalogs, sets, aliases };
}

it('of a body', async () => {
  const before = await active();
  for (const name of ['POST /v1/recommend', 'POST /v1/recommend/batch']) {
    const right = await send(server, 'POST', name.slice('POST '.length), bodies[name]);
    expect(right.status, JSON.stringify(right.body)).toBe(200);
  }
  const faults: string[] = [];
  let count = 0;
  for (const [name, { requestBody }] of routes) {
    const schema = requestBody?.content['application/json']?.schema;
    if (schema === undefined) continue;
    expect(bodies, `a right body for ${name}`).toHaveProperty([name]);
    const [method, route] = name.split(' ');
    for (const { field, what, body } of spoilFields(schema, bodies[name])) {
      // Where all fields may be left out, so may the body, and null is none.
      if (body === null && !schema.required) continue;
      const { status, body: answer } = await send(server, method, pathOf(route), body);
      const { code, details = [] } = answer?.error ?? {};
      const named = (details as { field?: string }[]).some((one) => isOf(field, one.field ?? ''));
      count++;
      if (status === 400 && code?.startsWith('ESP_') && (named || field === '')) continue;
      faults.push(`${name} ${field} ${what}: ${status} ${code} ${JSON.stringify(details).slice(0, 200)}`);
    }
  }
  expect(faults).toEqual([]);
  console.log(`${count} spoilt bodies`);
  expect(count).toBeGreaterThan(300);
  expect(await active()).toEqual(before);
});

/** Where several kinds of a value are allowed, what is around it may be named. */
function isOf(field: string, named: string): boolean {
  return field === named || field.startsWith(`${named}.`) || field.startsWith(`${named}[`);
}

it('of what follows a question mark', async () => {
  const before = await active();
  const faults: string[] = [];
  let count = 0;
  for (const [name, { parameters = [] }] of routes) {
    const [method, route] = name.split(' ');
    for (const { name: parameter, schema } of parameters.filter((one) => one.in === 'query')) {
      // What is text may be anything of that length.
      const wrong = [...spoilFields(schema, undefined)].map(({ body }) => body);
      const isText = (value: unknown) => typeof value === (schema.type === 'string' ? 'string' : 'number');
      const texts = wrong.filter((value) => value === 'x' || isText(value));
      for (const value of new Set(texts.map(String))) {
        const path = `${pathOf(route)}?${parameter}=${encodeURIComponent(value)}`;
        const { status, body: answer } = await send(server, method, path);
        const { code, details = [] } = answer?.error ?? {};
        const named = (details as { field?: string }[]).some(({ field }) => field === parameter);
        count++;
        if (status !== 400 || !named) faults.push(`${name} ${parameter}=${value}: ${status} ${code}`);
      }
    }
  }
  expect(faults).toEqual([]);
  console.log(`${count} spoilt parameters`);
  expect(count).toBeGreaterThan(10);
  expect(await active()).toEqual(before);
});
