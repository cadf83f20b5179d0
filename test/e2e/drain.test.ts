import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, get, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { manyItems, post, until } from '../helpers/build-load.js';
import { endOf, makeDataDir, makeModelsDir, send, startTestServer, upload } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog, sid } from '../helpers/small-server.js';

const CLIENTS = 24;
const DRAIN_DELAY_MS = 1_500;
/** Of a stop: less than a hang would take, more than a busy machine needs. */
const BOUND_MS = 20_000;
/** A history of two items, for which the `slow` model takes seconds. */
const SLOW = ['0-0', '1-1'];

const models = makeModelsDir();
const agents: Agent[] = [];
afterEach(() => {
  for (const agent of agents.splice(0)) agent.destroy();
});

interface Outcome {
  status?: number | undefined;
  body?: string;
  /** Where there was no answer: the system's code. */
  error?: string | undefined;
  /** Whether the connection had carried a request before. */
  reused: boolean;
}

/** One request over the agent's connection, with whatever comes of it. */
function recommend(server: ServerProcess, agent: Agent, body: object): Promise<Outcome> {
  return new Promise((resolve) => {
    const sent = request(`${server.url}/v1/recommend`, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json' },
    });
    const reused = () => sent.reusedSocket;
    sent.once('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code, reused: reused() }));
    sent.once('response', (response) => {
      text(response).then(
        (read) => resolve({ status: response.statusCode, body: read, reused: reused() }),
        (error) => resolve({ error: `cut: ${error.code}`, reused: reused() }),
      );
    });
    sent.end(JSON.stringify(body));
  });
}

/** Asks over one keep-alive connection, again and again, until nothing listens any more. */
async function ask(server: ServerProcess, outcomes: Outcome[]): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agents.push(agent);
  for (;;) {
    const outcome = await recommend(server, agent, { catalog: 'small', history: [], k: 6 });
    if (outcome.error === 'ECONNREFUSED') return;
    outcomes.push(outcome);
    if (outcome.error !== undefined) return;
  }
}

function exitOf(server: ServerProcess): Promise<[code: number | null, signal: string | null]> {
  return once(server.process, 'exit') as Promise<[number | null, string | null]>;
}

/** Ids and scores; the rest of an answer differs from one to the next. */
function ranked(body: string | undefined): unknown {
  const { items: found } = JSON.parse(body ?? '{}') as { items: { id: string; score: number }[] };
  return found.map(({ id, score }) => [id, score]);
}

it('stops under load without losing a request, and its jobs go on at the next start', async () => {
  const dataDir = makeDataDir();
  const options = ['--drain-delay-ms', String(DRAIN_DELAY_MS), '--decode-isolation', 'process'];
  const server = await startTestServer(dataDir, [...options, '--decode-engines', '2'], models);
  await makeSmallCatalog(server);
  await send(server, 'PUT', '/v1/catalogs/slow', { model: 'slow', sid, attributes });
  expect((await upload(server, 'slow', items)).state).toBe('succeeded');
  const agent = new Agent({ keepAlive: true });
  agents.push(agent);
  const expected = ranked((await recommend(server, agent, { catalog: 'small', history: [], k: 6 })).body);

  const outcomes: Outcome[] = [];
  const clients = Array.from({ length: CLIENTS }, () => ask(server, outcomes));
  const [ended, waiting] = await Promise.all([
    post(server, manyItems(200_000)),
    post(server, manyItems(1_000), { query: '?activate=false' }),
  ]);
  const building = ended.body.job.id;
  const events = await fetch(`${server.url}/v1/jobs/${building}/events`);
  await until(async () => (await send(server, 'GET', `/v1/jobs/${building}`)).body.job.state === 'running');
  // The model is at this when nothing is accepted any more.
  const slow = recommend(server, agent, { catalog: 'slow', history: SLOW, timeoutMs: 60_000 });
  const exit = exitOf(server);
  const signalMs = performance.now();
  server.process.kill('SIGTERM');

  let readiness = await send(server, 'GET', '/readyz');
  while (readiness.status === 200) readiness = await send(server, 'GET', '/readyz');
  expect([readiness.status, readiness.body.reasons]).toEqual([503, ['the server is shutting down']]);
  expect(readiness.headers.get('connection')).toBe('close');
  const sinceDraining = outcomes.length;
  await until(() => outcomes.length > sinceDraining + 5 * CLIENTS);
  expect(outcomes.slice(sinceDraining).every(({ status }) => status === 200)).toBe(true);

  await Promise.all(clients);
  const { status, body } = await slow;
  expect([status, JSON.parse(body ?? '').items.length]).toEqual([200, 6]);
  expect(await events.text()).toContain('"state":"running"');
  expect(await exit).toEqual([0, null]);
  expect(performance.now() - signalMs).toBeLessThan(BOUND_MS);

  const lost = outcomes.filter(({ error }) => error !== undefined);
  // The system may have made a connection that the server had not taken yet when it stopped listening.
  expect(lost.filter(({ error, reused }) => reused || error !== 'ECONNRESET')).toEqual([]);
  expect(lost.length).toBeLessThan(CLIENTS);
  for (const outcome of outcomes) {
    if (outcome.error === undefined) expect([outcome.status, ranked(outcome.body)]).toEqual([200, expected]);
  }

  const next = await startTestServer(dataDir, [], models);
  for (const id of [building, waiting.body.job.id]) {
    expect(await endOf(next, id)).toMatchObject({ state: 'succeeded' });
  }
  expect((await send(next, 'GET', '/v1/catalogs/small')).body.activeVersion).toBe(ended.body.version);
  await next.stop();
});

it('stops within its bound beside a model that hangs, and connections that say nothing', async () => {
  const options = ['--decode-isolation', 'process', '--shutdown-grace-ms', '300'];
  const server = await startTestServer(makeDataDir(), [...options, '--decode-engines', '1'], models);
  await send(server, 'PUT', '/v1/catalogs/slow', { model: 'slow', sid, attributes });
  expect((await upload(server, 'slow', items)).state).toBe('succeeded');
  const agent = new Agent({ keepAlive: true });
  agents.push(agent);
  const [{ port }, engines] = [new URL(server.url), childrenOf(server)];
  const silent = get({ port, agent: new Agent({ keepAlive: true }) });
  silent.once('error', () => {});
  await once(silent, 'response');
  // The engine is hung, for all that anybody can tell: it is stopped amid its run.
  const hung = recommend(server, agent, { catalog: 'slow', history: SLOW, timeoutMs: 60_000 });
  await until(async () => (await metric(server, 'espalier_decode_queue_length')) === 1);
  for (const pid of engines) process.kill(pid, 'SIGSTOP');
  const exit = exitOf(server);
  const signalMs = performance.now();
  server.process.kill('SIGTERM');
  expect((await hung).error).toBeDefined();
  expect(await exit).toEqual([0, null]);
  expect(performance.now() - signalMs).toBeLessThan(BOUND_MS);
  await until(() => engines.every((pid) => !isAlive(pid)));
});

it('ends at once at a second signal, with its engines', async () => {
  const options = ['--decode-isolation', 'process', '--drain-delay-ms', '600000'];
  const server = await startTestServer(makeDataDir(), options, models);
  await makeSmallCatalog(server);
  const engines = childrenOf(server);
  expect(engines.length).toBeGreaterThan(0);
  const exit = exitOf(server);
  server.process.kill('SIGTERM');
  await until(async () => (await send(server, 'GET', '/readyz')).status === 503);
  // An engine that is in a run does not notice that its server has gone: it has to be ended.
  for (const pid of engines) process.kill(pid, 'SIGSTOP');
  server.process.kill('SIGINT');
  const [code] = await exit;
  expect(code).not.toBe(0);
  try {
    await until(() => engines.every((pid) => !isAlive(pid)));
  } finally {
    for (const pid of engines.filter(isAlive)) process.kill(pid, 'SIGKILL');
  }
});

/** Processes that the server has started. */
function childrenOf({ process: { pid } }: ServerProcess): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return list.trim().split(' ').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function metric(server: ServerProcess, name: string): Promise<number> {
  const page = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(page)?.[1]);
}
