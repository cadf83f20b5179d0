import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { manyItems, post, until } from '../helpers/build-load.js';
import { rawCallOver } from '../helpers/raw-grpc.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog } from '../helpers/small-server.js';

const TIMEOUT_MS = 400;
/** Between two bytes; there are enough of them for minutes. */
const PACE_MS = 20;
const BOUND_MS = 15_000;
const MAX_CONNECTIONS = 12;
const STALLED = /ESP_REQUEST_STALLED/;

const dataDir = makeDataDir();
let server: ServerProcess;
beforeAll(async () => {
  server = await startTestServer(dataDir, [
    ...['--headers-timeout-ms', String(TIMEOUT_MS), '--body-timeout-ms', String(TIMEOUT_MS)],
    ...['--max-connections', String(MAX_CONNECTIONS), '--max-uploads', '1'],
    ...['--max-event-streams', '1', '--max-unfinished-jobs', '2', '--grpc-port', '0'],
    ...['--upload-idle-timeout-ms', String(TIMEOUT_MS)],
  ]);
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

async function open(): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Sends some text at once and then bytes without end, one at a time. @returns what came until the connection ended */
async function drip(begin: string): Promise<string> {
  const socket = await open();
  let heard = '';
  socket.on('data', (chunk) => {
    heard += chunk;
  });
  // A server that reads no more may reset the connection after its answer.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  if (begin !== '') socket.write(begin);
  const timer = setInterval(() => begin !== '' && socket.write('a'), PACE_MS);
  socket.once('end', () => clearInterval(timer));
  const late = setTimeout(() => socket.destroy(new Error('late')), BOUND_MS);
  socket.once('end', () => socket.end());
  await closed;
  clearInterval(timer);
  clearTimeout(late);
  return heard;
}

const head = (path: string, more = '') =>
  `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n${more}`;

it('cuts off headers that come byte by byte, a body that does, and a connection that says nothing', async () => {
  const startMs = performance.now();
  const body = head('/v1/recommend', 'content-length: 100000\r\n\r\n{"history": ["');
  const heard = await Promise.all([drip(head('/v1/recommend', 'x-slow: ')), drip(body), drip('')]);
  expect(performance.now() - startMs).toBeLessThan(BOUND_MS);
  for (const answer of heard) {
    expect(answer).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
    expect(answer).toContain('"code":"ESP_REQUEST_STALLED"');
  }
});

it('cuts off uploads that come byte by byte, and keeps nothing of them', async () => {
  const before = (await send(server, 'GET', '/v1/jobs')).body;
  for (const path of ['/v1/catalogs/small/versions', '/v1/bulk-recommendations/jobs']) {
    const begin = head(path, 'content-length: 100000\r\n\r\n').replace('/json', '/x-ndjson');
    const answer = await drip(`${begin}{"id": "`);
    expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    expect(answer).toMatch(
      /"code":"ESP_UPLOAD_STALLED","message":"\d+ bytes came in \d+ ms, fewer than \d+"/,
    );
  }
  expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
  expect((await send(server, 'GET', '/v1/jobs')).body).toEqual(before);
});

it('ends calls of RPC whose only message is half sent, whatever the protocol', async () => {
  const session = connectHttp2(`http://${server.grpcAddress}`);
  const half = Buffer.from([0, 0, 0, 0, 9, 0x0a]);
  const calls = ['RecommendationService/Recommend', 'CatalogService/GetCatalog', 'JobService/WatchJob'];
  const ends = await Promise.all(
    calls.map((call) => rawCallOver(session, `/espalier.v1.${call}`, half, { isHalfSent: true })),
  );
  expect(ends).toEqual(calls.map(() => ({ status: 10, code: 'ESP_REQUEST_STALLED' })));
  // The connection lives, and so does a stream of messages that waits for its next one.
  const stream = rawCallOver(session, '/espalier.v1.RecommendationService/RecommendStream', half, {
    isHalfSent: true,
  });
  const waits = new Promise((resolve) => setTimeout(() => resolve('waits'), 2 * TIMEOUT_MS));
  expect(await Promise.race([stream, waits])).toBe('waits');
  session.destroy();
  await stream;

  const path = '/espalier.v1.RecommendationService/Recommend';
  const start = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\ncontent-type: application`;
  const [connect, grpcWeb] = await Promise.all([
    drip(`${start}/json\r\n\r\n{"history": ["`),
    // The head of a message of 4,096 bytes.
    drip(`${start}/grpc-web+proto\r\n\r\n\0\0\0\x10\0`),
  ]);
  expect(connect).toContain('ESP_REQUEST_STALLED');
  expect(grpcWeb).toContain('grpc-status: 10');
});

it('ends bodies that do not come, whatever they call themselves and wherever they go', async () => {
  // The head of a message of 4,096 bytes, where there are heads.
  const half = '\0\0\0\x10\0';
  const drips: [method: string, path: string, type: string][] = [
    ['POST', '/v1/recommend', 'Application/json'],
    ['DELETE', '/v1/catalogs/nobody', 'APPLICATION/json'],
    ['POST', '/nowhere', 'application/JSON'],
    ['POST', '/espalier.v1.RecommendationService/Recommend', 'application/JSON'],
    ['POST', '/espalier.v1.RecommendationService/Recommend', 'Application/Proto'],
    ['POST', '/grpc.health.v1.Health/Watch', 'application/connect+json'],
    ['POST', '/espalier.v1.CatalogService/UploadItems', 'application/connect+proto'],
  ];
  const answers = await Promise.all(
    drips.map(async ([method, path, type]) => {
      const start = `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: ${type}\r\n`;
      return [path, await drip(`${start}content-length: 100000\r\n\r\n${half}`)];
    }),
  );
  for (const [path, answer] of answers)
    expect([path, answer]).toEqual([path, expect.stringMatching(STALLED)]);
});

it('ends uploads over gRPC whose first message does not come', async () => {
  const session = connectHttp2(`http://${server.grpcAddress}`);
  const calls = ['CatalogService/UploadItems', 'ConstraintSetService/UploadList'];
  const half = Buffer.from([0, 0, 0, 0, 9, 0x0a]);
  const paths = [...calls.map((call) => `/espalier.v1.${call}`), '/grpc.health.v1.Health/Check?a=b'];
  const ends = await Promise.all(paths.map((path) => rawCallOver(session, path, half, { isHalfSent: true })));
  expect(ends).toEqual(paths.map(() => ({ status: 10, code: 'ESP_REQUEST_STALLED' })));
  session.destroy();
});

it('lives on beside a body that comes for a route which does not read it', async () => {
  const socket = await open();
  const { body } = await post(server, '{"id": "a", "sid": [0, 0]}', { query: '?activate=false' });
  const type = 'content-type: application/json\r\ncontent-length: 100000';
  socket.write(`GET /v1/jobs/${body.job.id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n${type}\r\n\r\n{`);
  await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT_MS));
  expect((await send(server, 'GET', '/healthz')).status).toBe(200);
  socket.destroy();
});

it('cuts off a reader of a bulk stream who takes nothing, and none who takes a little', async () => {
  const start = 'POST /v1/bulk-recommendations HTTP/1.1\r\nhost: 127.0.0.1\r\n';
  const type = 'content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n';
  // Its answer names it several times; nothing is decoded.
  const line = `{"catalog": "small", "history": [], "${'x'.repeat(60_000)}": 1}\n`;
  const chunk = `${line.length.toString(16)}\r\n${line}\r\n`;
  const begin = Buffer.from(`${start}${type}${chunk.repeat(150)}`);
  const [stuck, slow] = await Promise.all([open(), open()]);
  const cut = new Promise((resolve) => stuck.once('close', () => resolve('cut')));
  for (const socket of [stuck, slow]) {
    socket.pause();
    socket.write(begin);
  }
  // A reader who does not read hears of the end only when it sends.
  const sending = setInterval(() => stuck.write(chunk), PACE_MS);
  const reading = setInterval(() => slow.read(1 << 17), TIMEOUT_MS / 8);
  const late = new Promise((resolve) => setTimeout(() => resolve('late'), BOUND_MS));
  expect(await Promise.race([cut, late])).toBe('cut');
  clearInterval(sending);
  expect(slow.bytesRead).toBeGreaterThan(1 << 20);
  expect(slow.destroyed).toBe(false);
  clearInterval(reading);
  for (const socket of [stuck, slow]) socket.destroy();
});

it('cuts off a body that still comes when it has been answered', async () => {
  const startMs = performance.now();
  const text = 'content-type: text/plain\r\ncontent-length: 100000\r\n\r\n';
  const answer = await drip(`POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\n${text}`);
  expect(performance.now() - startMs).toBeLessThan(BOUND_MS);
  expect(answer).toMatch(/^HTTP\/1.1 415 /);
});

it('refuses headers that are too large', async () => {
  const response = await fetch(`${server.url}/healthz`, { headers: { 'x-large': 'a'.repeat(20_000) } });
  expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
    431,
    'ESP_HEADERS_TOO_LARGE',
  ]);
});

it('closes connections beyond its limit at once, and takes others when some have gone', async () => {
  const sockets = await Promise.all(Array.from({ length: MAX_CONNECTIONS + 8 }, open));
  await until(() => sockets.filter(({ readableEnded, destroyed }) => readableEnded || destroyed).length > 0);
  for (const socket of sockets) socket.destroy();
  // Until the server has seen that they are gone, a further one is reset.
  await until(() =>
    send(server, 'GET', '/healthz').then(
      () => true,
      () => false,
    ),
  );
  expect(await refusals('connections')).toBeGreaterThan(0);
});

it('refuses uploads, streams of events and jobs beyond their limits, and says when to come again', async () => {
  const upload = await open();
  const type = 'content-type: application/x-ndjson\r\ncontent-length: 100000\r\n\r\n{"id"';
  upload.write(`POST /v1/catalogs/small/versions HTTP/1.1\r\nhost: 127.0.0.1\r\n${type}`);
  await until(async () => (await post(server, '{"id": "a", "sid": [0, 0]}')).status === 503);
  await expectRefused(await post(server, '{"id": "a", "sid": [0, 0]}'), 'uploads');
  // Of whatever kind they are.
  const requests = '{"catalog": "small", "history": []}';
  const job = await send(server, 'POST', '/v1/bulk-recommendations/jobs', requests, 'application/x-ndjson');
  await expectRefused(job, 'uploads');
  upload.destroy();
  const first = await until2xx();
  const second = await until2xx();
  const jobRefused = await post(server, '{"id": "a", "sid": [0, 0]}', { query: '' });
  await expectRefused(jobRefused, 'jobs');

  const events = await fetch(`${server.url}/v1/jobs/${first}/events`);
  expect(events.status).toBe(200);
  await expectRefused(await send(server, 'GET', `/v1/jobs/${second}/events`), 'streams');
  await events.body?.cancel();
  await until(async () => {
    const others = await fetch(`${server.url}/v1/jobs/${second}/events`);
    await others.body?.cancel();
    return others.status === 200;
  });
  for (const id of [second, first]) await send(server, 'DELETE', `/v1/jobs/${id}`);
  await until(async () => (await post(server, '{"id": "a", "sid": [0, 0]}')).status === 202);
});

/** Starts a build that takes a while, once there is room for it. */
async function until2xx(): Promise<string> {
  for (;;) {
    const { status, body } = await post(server, many);
    if (status === 202) return body.job.id;
  }
}
const many = manyItems(400_000);

async function expectRefused(
  { status, headers, body }: Awaited<ReturnType<typeof send>>,
  reason: string,
): Promise<void> {
  expect([status, body.error?.code]).toEqual([503, 'ESP_OVERLOADED']);
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  expect(await refusals(reason)).toBeGreaterThan(0);
}

async function refusals(reason: string): Promise<number> {
  const page = await (await fetch(`${server.url}/metrics`)).text();
  return Number(
    new RegExp(`^espalier_refusals_total\\{reason="${reason}"\\} (.*)$`, 'm').exec(page)?.[1] ?? 0,
  );
}
