import { Agent } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { errorCatalogue } from '../../src/errors.js';
import { type ApiDocument, type RawRequest, randomRequest } from '../helpers/fuzz/http-requests.js';
import { type RawReply, sendRaw } from '../helpers/fuzz/send-raw.js';
import { Random } from '../helpers/random.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

/*
 * Requests as nobody would send them, to every route of the API's own document: each gets its answer or a typed error,
 * the process lives, and what is refused changes nothing.
 */

const TIME_MS = process.env.LONG_TESTS ? 300_000 : 5_000;
/** However busy the machine is. */
const MIN_REQUESTS = 100;
/** After so many requests the state is looked at. */
const ROUND = 20;
/** Errors of 5xx that a request may get that is not the server's fault. */
const ALLOWED_5XX = ['ESP_OVERLOADED', 'ESP_TIMEOUT', 'ESP_SET_STALE', 'ESP_MODEL_OUTPUT'];
const words = {
  text: [
    '',
    'x',
    'small',
    '0-0',
    'ünï 🎁',
    'price < 2',
    'colour == "red"',
    'price <',
    '1',
    '2012-01-01T00:00:00Z',
  ],
  name: ['small', 'red', 'cheap', 'second', 'new', 'x.y', 'price', 'colour'],
  catalog: ['small', 'small', 'small', 'second', 'nothing'],
  set: ['red', 'cheap', 'new', 'nothing'],
  constraintSet: ['red', 'cheap', 'nothing'],
  alias: ['red', 'alias'],
  model: ['table', 'nothing'],
  id: ['0-0', '1-2', 'x', '00000000-0000-0000-0000-000000000000'],
  version: ['1', '2', '9'],
  rule: [
    'price < 2',
    'colour == "red"',
    'price <',
    'colour < 1',
    'true',
    'size(colour) > 2',
    'price < params.max',
  ],
  filter: ['price < 2', 'colour == "red"', 'price <', 'price < params.max'],
  history: ['0-0', '1-1', 'x'],
  type: ['double', 'string'],
  'keys of params': ['max', 'x'],
  'keys of attributes': ['price', 'colour', 'size'],
};
let server: ServerProcess;
let document: ApiDocument;
const agent = new Agent({ keepAlive: true, maxSockets: 4 });

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await makeAgain();
  // No request knows its name.
  await makeSmallCatalog(server, 'kept-as-it-is');
  document = (await send(server, 'GET', '/openapi.json')).body;
});
afterAll(() => {
  agent.destroy();
  return server.stop();
});

it('answers whatever comes with an answer or a typed error, and what it refuses changes nothing', async () => {
  const seed = Number(process.env.PROPERTY_SEED ?? Date.now() % 2 ** 31);
  const random = new Random(seed);
  const statuses: Record<string, number> = {};
  const routes = new Set<string>();
  const untouched = await answerUnder('kept-as-it-is');
  let before = await state();
  let sent = 0;
  for (const endMs = Date.now() + TIME_MS; Date.now() < endMs || sent < MIN_REQUESTS; ) {
    if (await makeAgain()) before = await state();
    const requests = Array.from({ length: ROUND }, () => randomRequest(document, random, words));
    const replies = await Promise.all(requests.map((request) => sendRaw(server.url, request, agent)));
    const seen = requests.map((request, index) => ({ request, reply: replies[index] }));
    for (const { request, reply } of seen) {
      check(request, reply, seed);
      const status = reply instanceof Error ? 'no answer' : String(reply.status);
      statuses[status] = (statuses[status] ?? 0) + 1;
      routes.add(`${request.method} ${request.path.split(/[/?]/).slice(0, 3).join('/')}`);
    }
    sent += ROUND;
    await jobsEnded();
    const after = await state();
    const changes = seen.filter(
      ({ request, reply }) => request.method !== 'GET' && !(reply instanceof Error) && reply.status < 300,
    );
    if (changes.length === 0)
      expect(after, `seed ${seed}, after ${JSON.stringify(requests.map(brief))}`).toEqual(before);
    before = after;
    expect(await answerUnder('kept-as-it-is')).toEqual(untouched);
  }
  console.log(`fuzz over HTTP: ${sent} requests, seed ${seed}, by status: ${JSON.stringify(statuses)}`);
  expect(server.process.exitCode).toBeNull();
  expect(sent).toBeGreaterThanOrEqual(MIN_REQUESTS);
  expect(routes.size).toBeGreaterThan(8);
});

function check(request: RawRequest, reply: RawReply | Error, seed: number): void {
  const context = `seed ${seed}: ${JSON.stringify(brief(request))}`;
  if (reply instanceof Error) {
    // Node refuses to send it, or the server cuts a body off that it will not read.
    expect(reply.message, context).toMatch(/invalid|unescaped|ECONNRESET|EPIPE|socket hang up|Parse Error/i);
    return;
  }
  if (reply.status < 400 || request.path.startsWith('/readyz')) return;
  const { error } = JSON.parse(reply.text || '{}');
  expect(error?.code, `${context} gave ${reply.status} ${reply.text}`).toBeOneOf(Object.keys(errorCatalogue));
  const { statusCode } = errorCatalogue[error.code as keyof typeof errorCatalogue];
  expect(reply.status, `${context} gave ${reply.text}`).toBe(statusCode);
  if (reply.status >= 500) expect(error.code, `${context} gave ${reply.text}`).toBeOneOf(ALLOWED_5XX);
}

function brief({ method, path, headers, body }: RawRequest): object {
  return { method, path: path.slice(0, 300), headers, body: body?.toString('latin1').slice(0, 600) };
}

async function answerUnder(catalog: string): Promise<unknown> {
  const { status, body } = await send(server, 'POST', '/v1/recommend', { catalog, history: ['0-0'], k: 3 });
  return { status, items: body.items };
}

/** Requests that were in order have deleted it. */
async function makeAgain(): Promise<boolean> {
  if ((await send(server, 'GET', '/v1/catalogs/small')).body.activeVersion != null) return false;
  await send(server, 'POST', '/v1/aliases', { actions: [{ delete: { alias: 'alias' } }] });
  await send(server, 'DELETE', '/v1/catalogs/small');
  await makeSmallCatalog(server, 'small');
  await putRule(server, 'red', 'colour == "red"');
  return true;
}

/** Everything that requests can change, but for what changes by itself. */
async function state(): Promise<unknown> {
  const { catalogs } = (await send(server, 'GET', '/v1/catalogs')).body;
  const { aliases } = (await send(server, 'GET', '/v1/aliases')).body;
  const all = await Promise.all(
    catalogs.map(async ({ name }: { name: string }) => {
      const { body: catalog } = await send(server, 'GET', `/v1/catalogs/${name}`);
      const { versions } = (await send(server, 'GET', `/v1/catalogs/${name}/versions`)).body;
      const sets =
        (await send(server, 'GET', `/v1/catalogs/${name}/constraint-sets`)).body.constraintSets ?? [];
      const lasting = sets.map(
        ({ evaluatedAt, stale, refreshFailure, ...rest }: Record<string, unknown>) => rest,
      );
      return { catalog, versions, sets: lasting, answer: await answerUnder(name) };
    }),
  );
  return { aliases, all };
}

async function jobsEnded(): Promise<void> {
  for (;;) {
    const { jobs } = (await send(server, 'GET', '/v1/jobs?limit=20')).body;
    if (jobs.every(({ state }: { state: string }) => state !== 'queued' && state !== 'running')) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
