import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { keysCommand, makeKey } from '../helpers/keys.js';
import { rawCall } from '../helpers/raw-grpc.js';
import { makeDataDir, makeModelsDir, type Reply, send, startTestServer } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog, sid } from '../helpers/small-server.js';

type Headers = Record<string, string>;

const recommendation = { catalog: 'small', history: [] };
const models = makeModelsDir();
const call = (on: ServerProcess, method: string, path: string, headers: Headers = {}, body?: unknown) =>
  send(on, method, path, body, 'application/json', headers);
const codeOf = ({ status, body }: Reply) => [status, body?.error?.code];

const LIMITS = ['--write-rate-limit-per-minute', '25', '--rate-limit-per-minute', '12'];
const RECOMMEND = '/espalier.v1.RecommendationService/Recommend';
/** {catalog: "small", k: 2} with the head of gRPC. */
const message = Buffer.from([0, 0, 0, 0, 9, 0x0a, 5, ...Buffer.from('small'), 0x20, 2]);

/** gRPC's status and our code. */
async function overGrpc(
  on: ServerProcess,
  headers: Headers,
): Promise<[number | undefined, string | undefined]> {
  const { status, code } = await rawCall(on.grpcAddress!, RECOMMEND, message, { headers });
  return [status, code];
}

/** The status of HTTP, and our code. */
async function overConnect(on: ServerProcess, headers: Headers): Promise<[number, string | undefined]> {
  const response = await fetch(`${on.url}${RECOMMEND}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{"catalog": "small", "k": 2}',
  });
  return [response.status, /ESP_[A-Z_]+/.exec(await response.text())?.[0]];
}

/** Waits for what a running server notices by itself. */
async function until(happens: () => Promise<boolean>): Promise<void> {
  while (!(await happens())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** With headers that fetch does not let through. */
function rawGet(on: ServerProcess, path: string, headers: Headers): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest(`${on.url}${path}`, { headers, setHost: false }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on('error', reject)
      .end();
  });
}

describe('a server with keys', () => {
  const dataDir = makeDataDir();
  let server: ServerProcess;
  let recommender: Headers;
  let writer: Headers;
  let admin: Headers;

  beforeAll(async () => {
    server = await startTestServer(dataDir, [...LIMITS, '--grpc-port', '0'], models);
    await makeSmallCatalog(server);
    // The first key takes force on a server that ran open.
    recommender = makeKey(dataDir, 'shop', 'recommend');
    await until(async () => (await call(server, 'GET', '/v1/catalogs')).status === 401);
    writer = makeKey(dataDir, 'pipeline', 'write,recommend');
    admin = makeKey(dataDir, 'ops', 'admin', '--expires-days', '1');
    await until(async () => (await call(server, 'GET', '/v1/audit', admin)).status === 200);
  });
  afterAll(() => server.stop());

  it('lets nobody in without one, and says how', async () => {
    for (const [method, path] of [
      ['POST', '/v1/recommend'],
      ['GET', '/v1/catalogs'],
      ['PUT', '/v1/catalogs/small'],
      ['GET', '/metrics'],
      ['GET', '/nowhere'],
      ['DELETE', '/v1/catalogs/small'],
    ]) {
      const reply = await call(server, method, path);
      expect([path, ...codeOf(reply)]).toEqual([path, 401, 'ESP_UNAUTHENTICATED']);
      expect(reply.headers.get('www-authenticate')).toMatch(/^Bearer /);
    }
  });

  it('answers probes and documentation without one', async () => {
    for (const path of ['/healthz', '/readyz', '/openapi.json']) {
      expect([path, (await call(server, 'GET', path)).status]).toEqual([path, 200]);
    }
    for (const path of ['/docs', '/docs/static/swagger-ui-bundle.js']) {
      expect([path, (await fetch(`${server.url}${path}`)).status]).toEqual([path, 200]);
    }
  });

  it('lets each key do what its scopes say', async () => {
    const key = recommender.authorization.slice('Bearer '.length);
    expect((await call(server, 'POST', '/v1/recommend', recommender, recommendation)).status).toBe(200);
    expect((await call(server, 'POST', '/v1/recommend', { 'x-api-key': key }, recommendation)).status).toBe(
      200,
    );
    expect((await fetch(`${server.url}/metrics`, { headers: recommender })).status).toBe(200);
    const refused = await call(server, 'GET', '/v1/catalogs', recommender);
    expect(codeOf(refused)).toEqual([403, 'ESP_FORBIDDEN']);
    expect(refused.body.error.details[0].expected).toBe('the scope write');
    expect((await call(server, 'GET', '/v1/catalogs', writer)).status).toBe(200);
    expect(codeOf(await call(server, 'DELETE', '/v1/catalogs/small', writer))).toEqual([
      403,
      'ESP_FORBIDDEN',
    ]);
    expect(codeOf(await call(server, 'GET', '/v1/audit', writer))).toEqual([403, 'ESP_FORBIDDEN']);
    expect(codeOf(await call(server, 'GET', '/nowhere', writer))).toEqual([403, 'ESP_FORBIDDEN']);
    expect(codeOf(await call(server, 'GET', '/nowhere', admin))).toEqual([404, 'ESP_ROUTE_NOT_FOUND']);
    const both = { ...recommender, 'x-api-key': key };
    expect(codeOf(await call(server, 'GET', '/v1/catalogs', both))).toEqual([401, 'ESP_UNAUTHENTICATED']);
  });

  it('asks calls over gRPC and Connect for the same', async () => {
    const builder = makeKey(dataDir, 'builder', 'write');
    await until(async () => (await call(server, 'GET', '/v1/catalogs', builder)).status === 200);
    const wrong = { authorization: `${recommender.authorization.slice(0, -4)}0000` };
    for (const [headers, status, httpStatus, code] of [
      [{}, 16, 401, 'ESP_UNAUTHENTICATED'],
      [wrong, 16, 401, 'ESP_UNAUTHENTICATED'],
      [builder, 7, 403, 'ESP_FORBIDDEN'],
    ] as [Headers, number, number, string][]) {
      expect(await overGrpc(server, headers)).toEqual([status, code]);
      expect(await overConnect(server, headers)).toEqual([httpStatus, code]);
    }
    expect(await overGrpc(server, recommender)).toEqual([0, undefined]);
    expect(await overConnect(server, recommender)).toEqual([200, undefined]);
  });

  it('counts calls over gRPC and Connect together with those over HTTP', async () => {
    const meter = makeKey(dataDir, 'meter', 'recommend');
    await until(async () => (await fetch(`${server.url}/metrics`, { headers: meter })).status === 200);
    for (let count = 0; count < 5; count++) {
      expect(await overGrpc(server, meter)).toEqual([0, undefined]);
      expect(await overConnect(server, meter)).toEqual([200, undefined]);
    }
    const reply = await call(server, 'POST', '/v1/recommend', meter, recommendation);
    expect([reply.status, reply.headers.get('ratelimit-remaining')]).toEqual([200, '1']);
    expect(await overGrpc(server, meter)).toEqual([0, undefined]);
    expect(await overGrpc(server, meter)).toEqual([8, 'ESP_RATE_LIMITED']);
    expect(await overConnect(server, meter)).toEqual([429, 'ESP_RATE_LIMITED']);
  });

  it('writes down who changed what, before it answers', async () => {
    const set = '/v1/catalogs/small/constraint-sets/red';
    const body = { rule: 'colour == "red"' };
    const put = await call(server, 'PUT', set, { ...writer, 'x-actor': 'nightly' }, body);
    expect([200, 201]).toContain(put.status);
    const wrong = await call(server, 'PUT', set, writer, { rule: 'color == "red"' });
    expect(wrong.status).toBe(400);
    const lines = readFileSync(join(dataDir, 'audit', 'audit.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const [done, failed] = lines.slice(-2).map((line) => JSON.parse(line));
    expect(done).toMatchObject({
      by: 'pipeline (nightly)',
      keyId: writer.authorization.split('_')[1],
      action: 'PUT /v1/catalogs/:catalog/constraint-sets/:set',
      target: { catalog: 'small', set: 'red' },
      version: 1,
      outcome: 'done',
      requestId: expect.any(String),
      address: '127.0.0.1',
    });
    expect(failed).toMatchObject({ by: 'pipeline', outcome: 'failed', code: 'ESP_RULE_NAME' });
    expect((await call(server, 'GET', set, writer)).body.createdBy ?? 'pipeline (nightly)').toBe(
      'pipeline (nightly)',
    );
  });

  it('writes down jobs as they were asked for, and as they ended', async () => {
    const lines = items.map((item) => JSON.stringify(item)).join('\n');
    const path = '/v1/catalogs/small/versions?activate=true';
    const { body } = await send(server, 'POST', path, lines, 'application/x-ndjson', writer);
    const entries = async () => (await call(server, 'GET', '/v1/audit?limit=10', admin)).body.entries;
    const ofJob = async () =>
      (await entries()).filter(({ target }: { target: { job?: string } }) => target.job === body.job.id);
    await until(async () => (await ofJob()).length === 2);
    const [end, asked] = await ofJob();
    expect(asked).toMatchObject({
      by: 'pipeline',
      outcome: 'accepted',
      version: 2,
      target: { catalog: 'small' },
    });
    expect(end).toMatchObject({ by: 'pipeline', action: 'job end', outcome: 'done', version: 2 });
    const { entries: all } = (await call(server, 'GET', '/v1/audit', admin)).body;
    const made = all.filter(({ action }: { action: string }) => action === 'keys create');
    expect(made.map(({ target }: { target: { key: string } }) => target.key)).toEqual([
      'meter',
      'builder',
      'ops',
      'pipeline',
      'shop',
    ]);
  });

  it('limits changes per key, and says what is left', async () => {
    const preview = '/v1/catalogs/small/constraint-sets/preview';
    let reply = await call(server, 'POST', preview, writer, { rule: 'true' });
    const left = Number(reply.headers.get('ratelimit-remaining'));
    expect([reply.status, reply.headers.get('ratelimit-limit')]).toEqual([200, '25']);
    for (let count = 0; count < left; count++)
      reply = await call(server, 'POST', preview, writer, { rule: 'true' });
    expect([reply.status, reply.headers.get('ratelimit-remaining')]).toEqual([200, '0']);
    reply = await call(server, 'POST', preview, writer, { rule: 'true' });
    expect(codeOf(reply)).toEqual([429, 'ESP_RATE_LIMITED']);
    expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(reply.headers.get('ratelimit-remaining')).toBe('0');
    expect((await call(server, 'POST', preview, admin, { rule: 'true' })).status).toBe(200);
    expect((await call(server, 'GET', '/v1/catalogs', writer)).status).toBe(200);
  });

  it('ends a key when it is revoked, and lets nobody in while the keys are damaged', async () => {
    expect(keysCommand('revoke', 'shop', '--data-dir', dataDir).status).toBe(0);
    await until(async () => {
      const reply = await call(server, 'POST', '/v1/recommend', recommender, recommendation);
      return reply.status === 401 && reply.body.error.message.includes('revoked');
    });
    const path = join(dataDir, 'keys.json');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.slice(0, -20));
    await until(async () => (await call(server, 'GET', '/v1/catalogs', admin)).status !== 200);
    const refused = await call(server, 'GET', '/v1/catalogs', admin);
    expect(codeOf(refused)).toEqual([503, 'ESP_KEYS_UNAVAILABLE']);
    expect(refused.headers.get('retry-after')).toBe('1');
    const { body, status } = await call(server, 'GET', '/readyz');
    expect([status, body.reasons]).toEqual([503, ['the API keys cannot be read: it is not JSON']]);
    rmSync(path);
    await until(async () => (await call(server, 'GET', '/readyz')).body.reasons[0]?.includes('gone'));
    expect((await call(server, 'GET', '/v1/catalogs')).status).toBe(401);
    writeFileSync(path, text);
    await until(async () => (await call(server, 'GET', '/v1/catalogs', admin)).status === 200);
  });
});

describe('a server without keys', () => {
  const dataDir = makeDataDir();
  let server: ServerProcess;

  beforeAll(async () => {
    server = await startTestServer(dataDir, ['--rate-limit-per-minute', '2'], models);
    await makeSmallCatalog(server);
  });
  afterAll(() => server.stop());

  it('answers to the names of this machine alone, and to no other page', async () => {
    const { port } = new URL(server.url);
    expect(await rawGet(server, '/v1/catalogs', { host: `localhost:${port}` })).toBe(200);
    expect(await rawGet(server, '/v1/catalogs', { host: `evil.example:${port}` })).toBe(403);
    const origin = { host: `127.0.0.1:${port}`, origin: 'http://evil.example' };
    expect(await rawGet(server, '/v1/catalogs', origin)).toBe(403);
    expect(await rawGet(server, '/v1/catalogs', { ...origin, origin: server.url })).toBe(200);
    const form = new FormData();
    form.set('items', new Blob(['{}'], { type: 'application/x-ndjson' }));
    const path = `${server.url}/v1/catalogs/small/versions`;
    const reply = await fetch(path, {
      method: 'POST',
      body: form,
      headers: { origin: 'http://evil.example' },
    });
    const { error } = (await reply.json()) as { error: { code: string } };
    expect([reply.status, error.code]).toEqual([403, 'ESP_HOST_REFUSED']);
  });

  it('limits by address', async () => {
    const codes = [];
    for (let count = 0; count < 3; count++) {
      codes.push(codeOf(await call(server, 'POST', '/v1/recommend', {}, recommendation)));
    }
    expect(codes).toEqual([
      [200, undefined],
      [200, undefined],
      [429, 'ESP_RATE_LIMITED'],
    ]);
  });

  it('records callers as they call themselves', async () => {
    const put = await call(
      server,
      'PUT',
      '/v1/catalogs/other',
      { 'x-actor': 'me' },
      { model: 'table', sid, attributes },
    );
    expect(put.status).toBe(201);
    const [entry] = (await call(server, 'GET', '/v1/audit?limit=1')).body.entries;
    expect(entry).toMatchObject({
      by: 'me',
      action: 'PUT /v1/catalogs/:catalog',
      target: { catalog: 'other' },
    });
    expect(entry.keyId).toBeUndefined();
  });
});

describe('other machines', () => {
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const start = (dataDir: string) =>
    spawnSync(
      process.execPath,
      [main, 'serve', '--data-dir', dataDir, '--models-dir', models, '--port', '0', '--host', '0.0.0.0'],
      { encoding: 'utf8', timeout: 20_000 },
    );

  it('are not served without keys, unless that is meant', async () => {
    const dataDir = makeDataDir();
    const { status, stderr } = start(dataDir);
    expect([status, stderr]).toEqual([2, expect.stringContaining('espalier keys create')]);
    const options = ['--host', '0.0.0.0', '--allow-unauthenticated', '--open-metrics'];
    const open = await startTestServer(dataDir, options, models);
    const { port } = new URL(open.url);
    expect(await rawGet(open, '/v1/catalogs', { host: `shop.example:${port}` })).toBe(200);
    await open.stop();
  });

  it('are served with keys', async () => {
    const dataDir = makeDataDir();
    const key = makeKey(dataDir, 'ops', 'admin');
    const server = await startTestServer(dataDir, ['--host', '0.0.0.0', '--open-metrics'], models);
    expect((await call(server, 'GET', '/v1/catalogs')).status).toBe(401);
    expect((await call(server, 'GET', '/v1/catalogs', key)).status).toBe(200);
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200);
    await server.stop();
  });
});
