import { Agent } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ErrorCode, errorCatalogue } from '../../src/errors.js';
import { grpcCodeOf } from '../../src/server/rpc/errors.js';
import { type ApiDocument, type RawRequest, randomRequest } from '../helpers/fuzz/http-requests.js';
import { type CallEnd, methods, type RandomCall, RawClient, randomCall } from '../helpers/fuzz/rpc-calls.js';
import { type RawReply, sendRaw } from '../helpers/fuzz/send-raw.js';
import { makeKey } from '../helpers/keys.js';
import { Random } from '../helpers/random.js';
import { type KeyedServer, makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

/*
 * Requests as nobody would send them, to every route of the API's own document, and to every method of the .proto files:
 * each gets its answer or a typed error, the process lives, and what is refused changes nothing.
 */

const TIME_MS = process.env.LONG_TESTS ? 300_000 : 5_000;
/** However busy the machine is. */
const MIN_REQUESTS = 60;
/** After so many requests the state is looked at. */
const ROUND = 20;
/** Errors of 5xx that a request may get that is not the server's fault. */
const ALLOWED_5XX = ['ESP_OVERLOADED', 'ESP_TIMEOUT', 'ESP_SET_STALE', 'ESP_MODEL_OUTPUT'];
/** Rounds in which nothing was to change the state, and nothing has: so many, and so many of a long run. */
const MIN_COMPARED = 2;
const MIN_COMPARED_SHARE = 0.1;
const words = {
  chunk: ['{"id":"9","sid":[1,2]}\n', 'id,sid\n0-0,1-2\n', '{', '0-0\n', ''],
  content_type: ['application/x-ndjson', 'text/csv', 'image/png'],
  contentType: ['application/x-ndjson', 'text/csv', 'image/png'],
  contentEncoding: ['identity', 'gzip', 'x'],
  'key of Attributes': ['price', 'colour', 'size'],
  'key of Fields': ['id', 'price', 'max', 'sid'],
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
let server: KeyedServer;
let dataDir: string;
let document: ApiDocument;
const agent = new Agent({ keepAlive: true, maxSockets: 4 });

beforeAll(async () => {
  dataDir = makeDataDir();
  server = await startTestServer(dataDir, ['--grpc-port', '0']);
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
  let [rounds, compared] = [0, 0];
  for (
    const endMs = Date.now() + TIME_MS;
    Date.now() < endMs || sent < MIN_REQUESTS || compared < MIN_COMPARED;
  ) {
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
    rounds++;
    if (!seen.some(({ request, reply }) => mayChange(request) && isDone(reply))) {
      compared++;
      expect(after, `seed ${seed}, after ${JSON.stringify(requests.map(brief))}`).toEqual(before);
    }
    before = after;
    expect(await answerUnder('kept-as-it-is')).toEqual(untouched);
  }
  const share = `${compared} of ${rounds} rounds compared`;
  console.log(
    `fuzz over HTTP: ${sent} requests, ${share}, seed ${seed}, by status: ${JSON.stringify(statuses)}`,
  );
  expect(compared, share).toBeGreaterThanOrEqual(rounds * MIN_COMPARED_SHARE);
  expect(server.process.exitCode).toBeNull();
  expect(sent).toBeGreaterThanOrEqual(MIN_REQUESTS);
  expect(routes.size).toBeGreaterThan(8);
});

/** Routes whose answers change nothing of what `state` sees, whatever their method. */
const QUESTIONS =
  /^\/v1\/(recommend|recommend\/batch|bulk-recommendations(\/jobs.*)?|models\/[^/]+\/load|catalogs\/[^/]+\/constraint-sets\/preview)(\?|$)/;

function mayChange({ method, path }: RawRequest): boolean {
  return !['GET', 'HEAD', 'OPTIONS'].includes(method) && !QUESTIONS.test(path);
}

/** It was, or nobody knows. */
function isDone(reply: RawReply | Error): boolean {
  return reply instanceof Error || reply.status < 300;
}

/** Methods that change nothing. */
const READS = /\/(Get|List|Preview|Recommend|Watch)\w*$/;
/** Statuses that gRPC itself sets for faults of the protocol. */
const PROTOCOL_ENDS = ['12 ESP_BODY_MALFORMED', '12 ESP_MEDIA_TYPE'];
const STAYING = { cancelAfterMs: undefined, deadlineMs: undefined };
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;

it('answers whatever comes over gRPC likewise', async () => {
  const seed = Number(process.env.PROPERTY_SEED ?? Date.now() % 2 ** 31);
  const random = new Random(seed);
  const admin = makeKey(dataDir, 'admin', 'admin');
  const narrow = makeKey(dataDir, 'narrow', 'recommend');
  while ((await send(server, 'GET', '/v1/catalogs')).status !== 401);
  server.keyHeaders = admin;
  const keys = [admin, admin, admin, admin, narrow, { authorization: 'Bearer esp_x' }, {}];
  const client = new RawClient(server.grpcAddress!);
  const ends: Record<string, number> = {};
  const called = new Set<string>();
  const untouched = await answerUnder('kept-as-it-is');
  let before = await state();
  let sent = 0;
  let [rounds, compared] = [0, 0];
  for (
    const endMs = Date.now() + TIME_MS;
    Date.now() < endMs || sent < MIN_REQUESTS || compared < MIN_COMPARED;
    sent += ROUND
  ) {
    if (await makeAgain()) before = await state();
    const calls = Array.from({ length: ROUND }, () => randomCall(random, words, keys));
    // In every second round the client stays: of a call that it has left it does not know what it has changed.
    const sentCalls = calls.map((call) => (rounds % 2 === 0 ? call : { ...call, ...STAYING }));
    const replies = await Promise.all(sentCalls.map((call) => client.send(call)));
    const seen = calls.map((call, index) => ({ call, end: replies[index] }));
    for (const { call, end } of seen) {
      const outcome = checkEnd(call, end, seed);
      ends[outcome] = (ends[outcome] ?? 0) + 1;
      called.add(call.method.path);
    }
    await jobsEnded();
    const after = await state();
    // The client that has left does not know what became of its call.
    const mayHaveChanged = seen.some(
      ({ call, end }) => !READS.test(call.method.path) && (end.error?.info === undefined || end.hasLeft),
    );
    rounds++;
    if (!mayHaveChanged) {
      compared++;
      expect(after, `seed ${seed}, after ${JSON.stringify(calls.map(briefCall))}`).toEqual(before);
    }
    before = after;
    expect(await answerUnder('kept-as-it-is')).toEqual(untouched);
  }
  client.close();
  const share = `${compared} of ${rounds} rounds compared`;
  console.log(`fuzz over gRPC: ${sent} calls, ${share}, seed ${seed}, by end: ${JSON.stringify(ends)}`);
  expect(compared, share).toBeGreaterThanOrEqual(rounds * MIN_COMPARED_SHARE);
  expect(server.process.exitCode).toBeNull();
  expect(called.size).toBeGreaterThan(methods.length * 0.8);
  expect(ends.answer).toBeGreaterThan(0);
});

/** @returns how it ended, in a word */
function checkEnd(call: RandomCall, { error, answers, hasLeft }: CallEnd, seed: number): string {
  const context = `seed ${seed}: ${JSON.stringify(briefCall(call))}`;
  if (error === undefined) {
    if (!call.method.responseStream) expect(answers, context).toHaveLength(1);
    return 'answer';
  }
  const { status, info, message } = error;
  if (info === undefined) {
    // What the client itself says of a call that it does not wait for.
    const own = hasLeft ? CANCELLED : call.deadlineMs === undefined ? undefined : DEADLINE_EXCEEDED;
    expect(status, `${context} gave ${message}`).toBe(own);
    return 'left';
  }
  expect(info.code, `${context} gave ${status} ${message}`).toBeOneOf(Object.keys(errorCatalogue));
  const code = info.code as ErrorCode;
  const allowed = [`${grpcCodeOf(code)} ${code}`, ...PROTOCOL_ENDS];
  expect(`${status} ${code}`, `${context} gave ${message}`).toBeOneOf(allowed);
  const isAllowed5xx = ALLOWED_5XX.includes(code) || errorCatalogue[code].statusCode < 500;
  expect(isAllowed5xx, `${context} gave ${status} ${code} ${message}`).toBe(true);
  return code;
}

function briefCall({ method, messages, ...rest }: RandomCall): object {
  const bytes = messages.map((one) => one.toString('base64').slice(0, 600));
  return { path: method.path, messages: bytes, ...rest };
}

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
