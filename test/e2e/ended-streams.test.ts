import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { ClientDuplexStream, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { createKey, revokeKey } from '../../src/server/security/key-file.js';
import { until } from '../helpers/build-load.js';
import { errorOf, grpcClient, metadataOf, plain, varint } from '../helpers/grpc.js';
import { rawCallOver } from '../helpers/raw-grpc.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog } from '../helpers/small-server.js';

/** Streams that the server ends: their key is revoked, or it stops. */

const dataDir = makeDataDir();
const good = { catalog: 'small', history: ['0-0'], k: 3 };
/** Far more than the time in which the server notices; without it a test would wait for its own. */
const ENDLESS = ['--shutdown-grace-ms', '600000', '--upload-idle-timeout-ms', '600000'];
let server: ServerProcess;
let keep: Record<string, string>;
/** Of a job that takes longer than the tests. */
let jobId: string;
// biome-ignore lint/suspicious/noExplicitAny: clients are made of the .proto files when the test runs.
const clients: any[] = [];

async function makeKey(name: string): Promise<Record<string, string>> {
  const { key } = await createKey(dataDir, { name, scopes: ['recommend', 'write'] });
  const headers = { authorization: `Bearer ${key}` };
  await until(
    async () => (await send(server, 'GET', '/v1/jobs', undefined, undefined, headers)).status === 200,
  );
  return headers;
}

beforeAll(async () => {
  const options = ['--grpc-port', '0', '--body-timeout-ms', '600000', ...ENDLESS];
  server = await startTestServer(dataDir, options);
  await makeSmallCatalog(server);
  const many = `${JSON.stringify(good)}\n`.repeat(100_000);
  const job = await send(server, 'POST', '/v1/bulk-recommendations/jobs', many, 'application/x-ndjson');
  jobId = job.body.job.id;
  // Before there are keys nobody shows one, and the server lets everybody in.
  await createKey(dataDir, { name: 'first', scopes: ['admin'] });
  await until(async () => (await send(server, 'GET', '/v1/jobs')).status === 401);
  keep = await makeKey('keep');
});
afterAll(async () => {
  for (const client of clients) client.close();
  await server?.stop();
});

interface Ended {
  outcomes: unknown[];
  error: ReturnType<typeof errorOf> | undefined;
}

/** What came of a stream of gRPC, when it has ended. */
function endOf(stream: ClientReadableStream<object>): Promise<Ended> {
  const outcomes: unknown[] = [];
  stream.on('data', (value) => outcomes.push(plain(value)));
  return new Promise((resolve) => {
    stream.on('error', (error: ServiceError) => resolve({ outcomes, error: errorOf(error) }));
    stream.on('end', () => resolve({ outcomes, error: undefined }));
  });
}

function recommendStream(headers: Record<string, string>): ClientDuplexStream<object, object> {
  const client = grpcClient(server.grpcAddress!, 'RecommendationService');
  clients.push(client);
  return client.RecommendStream(metadataOf(headers));
}

function watchJob(headers: Record<string, string>): ClientReadableStream<object> {
  const client = grpcClient(server.grpcAddress!, 'JobService');
  clients.push(client);
  return client.WatchJob({ id: jobId }, metadataOf(headers));
}

/** A bulk stream that has begun. @returns its text, as it comes */
async function bulkStream(headers: Record<string, string>): Promise<IncomingMessage> {
  const writer = request(`${server.url}/v1/bulk-recommendations`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/x-ndjson' },
  });
  writer.on('error', () => {});
  writer.write(`${JSON.stringify(good)}\n`);
  const [response] = (await once(writer, 'response')) as [IncomingMessage];
  return response.once('end', () => writer.destroy());
}

const counted = async (code: string, headers: Record<string, string>) => {
  const page = await (await fetch(`${server.url}/metrics`, { headers })).text();
  return Number(new RegExp(`^espalier_errors_total\\{code="${code}"\\} (\\d+)`, 'm').exec(page)?.[1] ?? 0);
};

it('waits for no message of a call without a key', async () => {
  const session = connect(`http://${server.grpcAddress}`);
  const before = await counted('ESP_UNAUTHENTICATED', keep);
  for (const call of ['CatalogService/UploadItems', 'ConstraintSetService/UploadList']) {
    const half = Buffer.from([0, 0, 0, 0, 9, 0x0a]);
    const end = await rawCallOver(session, `/espalier.v1.${call}`, half, { isHalfSent: true });
    expect([call, end]).toEqual([call, { status: 16, code: 'ESP_UNAUTHENTICATED' }]);
  }
  expect(await counted('ESP_UNAUTHENTICATED', keep)).toBe(before + 2);
  session.destroy();
});

it('ends the streams of a key that is revoked, and no others', async () => {
  const leaky = await makeKey('leaky');
  const before = await counted('ESP_UNAUTHENTICATED', keep);
  const [idle, busy, kept] = [recommendStream(leaky), recommendStream(leaky), recommendStream(keep)];
  for (const stream of [idle, busy, kept]) stream.write(good);
  const [idleEnd, busyEnd, keptEnd] = [endOf(idle), endOf(busy), endOf(kept)];
  await Promise.all([idle, busy, kept].map((stream) => once(stream, 'data')));
  // One request after the other, so that the stream is never waited for.
  busy.on('data', () => busy.write(good));
  busy.write(good);
  const bulk = await bulkStream(leaky);
  const events = await fetch(`${server.url}/v1/jobs/${jobId}/events`, { headers: leaky });
  const watch = watchJob(leaky);
  const watchEnd = endOf(watch);
  await once(watch, 'data');

  await revokeKey(dataDir, 'leaky');
  const refused = { status: 16, info: { code: 'ESP_UNAUTHENTICATED', message: expect.anything() } };
  for (const { outcomes, error } of await Promise.all([idleEnd, busyEnd, watchEnd])) {
    expect(outcomes.length).toBeGreaterThan(0);
    expect(error).toMatchObject(refused);
    expect(error?.message).toMatch(/^the API key leaky was revoked at /);
  }
  const lines = (await text(bulk))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ error }) => error?.code)).toEqual([undefined, 'ESP_UNAUTHENTICATED']);
  expect(await events.text()).not.toMatch(/"state":"(succeeded|failed|cancelled)"/);
  // Two streams and a bulk stream; of the two that watch, the one with an error.
  expect(await counted('ESP_UNAUTHENTICATED', keep)).toBe(before + 3);
  kept.write(good);
  await once(kept, 'data');
  kept.end();
  expect((await keptEnd).error).toBeUndefined();
});

it('ends all streams when it stops, after what they have sent is answered', async () => {
  const session = connect(`http://${server.grpcAddress}`);
  session.on('error', () => {});
  const streams = [recommendStream(keep), recommendStream(keep)];
  const ends = streams.map(endOf);
  for (const stream of streams) stream.write(good);
  await Promise.all(streams.map((stream) => once(stream, 'data')));
  const [, busy] = streams;
  let sent = 1;
  busy.on('data', () => {
    if (busy.writable) sent += Number(busy.write(good));
  });
  sent += Number(busy.write(good));
  const path = '/espalier.v1.CatalogService/UploadItems';
  const open = { isHalfSent: true, headers: keep };
  const before = received();
  const uploads = [Buffer.alloc(0), uploadMessages()].map((bytes) => rawCallOver(session, path, bytes, open));
  await until(() => received() > before);

  const exit = once(server.process, 'exit');
  server.process.kill('SIGTERM');
  for (const { outcomes, error } of await Promise.all(ends)) {
    expect(outcomes).toSatisfy((all: { answer?: object }[]) => all.every(({ answer }) => answer));
    expect(error).toMatchObject({ status: 14, info: { code: 'ESP_SHUTTING_DOWN' } });
  }
  expect((await ends[0]).outcomes).toHaveLength(1);
  expect((await ends[1]).outcomes.length).toBeGreaterThanOrEqual(sent - 1);
  expect(await Promise.all(uploads)).toEqual(uploads.map(() => ({ status: 14, code: 'ESP_SHUTTING_DOWN' })));
  expect(await exit).toEqual([0, null]);
  session.destroy();
});

const received = () => readdirSync(join(dataDir, 'uploads')).length;

/** A header and a chunk, each with its head of five bytes, as UploadItemsRequest. */
function uploadMessages(): Buffer {
  const field = (number: number, bytes: Buffer) =>
    Buffer.concat([Buffer.from([(number << 3) | 2]), varint(bytes.length), bytes]);
  const header = Buffer.concat([
    field(1, Buffer.from('small')),
    field(2, Buffer.from('application/x-ndjson')),
  ]);
  const messages = [field(1, header), field(2, Buffer.from('{"id": "a", "sid": [0, 0]}\n'))];
  return Buffer.concat(messages.flatMap((one) => [Buffer.from([0, 0, 0, 0, one.length]), one]));
}
