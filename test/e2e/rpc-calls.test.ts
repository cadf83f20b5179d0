import { once } from 'node:events';
import { connect } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { ClientWritableStream, ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import {
  call,
  errorOf,
  grpcClient,
  healthClient,
  metadataOf,
  plain,
  type Reply,
  struct,
} from '../helpers/grpc.js';
import { rawCall } from '../helpers/raw-grpc.js';
import { endOf, makeDataDir, send, startTestServer } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog } from '../helpers/small-server.js';

/** Management, health, deadlines and what misbehaves: each over gRPC, and against what HTTP says. */

// biome-ignore lint/suspicious/noExplicitAny: clients are made of the .proto files when the test runs.
type Client = any;

let server: ServerProcess;
let clients: Record<'recommendations' | 'catalogs' | 'sets' | 'jobs' | 'health', Client>;

beforeAll(async () => {
  server = await startTestServer(makeDataDir(), ['--grpc-port', '0']);
  const address = server.grpcAddress!;
  clients = {
    recommendations: grpcClient(address, 'RecommendationService'),
    catalogs: grpcClient(address, 'CatalogService'),
    sets: grpcClient(address, 'ConstraintSetService'),
    jobs: grpcClient(address, 'JobService'),
    health: healthClient(address),
  };
});
afterAll(async () => {
  for (const client of Object.values(clients ?? {})) client.close();
  await server?.stop();
});

const CATALOG = {
  catalog: 'rpc',
  model: { name: 'table' },
  sid: { codebookSizes: [2, 3] },
  attributes,
};

/** Sends parts as a client stream. */
function uploadParts(client: Client, method: string, parts: object[]): Promise<Reply> {
  return new Promise((resolve) => {
    const stream: ClientWritableStream<object> = client[method](
      metadataOf({}),
      (error: ServiceError | null, value: object) =>
        resolve(error ? { error: errorOf(error) } : { value: plain(value) }),
    );
    for (const part of parts) stream.write(part);
    stream.end();
  });
}

/** What comes, until the stream ends. */
async function collect(stream: Client): Promise<Client[]> {
  const values: Client[] = [];
  stream.on('data', (value: object) => values.push(plain(value)));
  await once(stream, 'end');
  return values;
}

const ndjson = Buffer.from(items.map((item) => JSON.stringify(item)).join('\n'));
const header = { catalog: 'rpc', contentType: 'application/x-ndjson', activate: true };

describe('health', () => {
  it('follows readiness, for the server and for each service', async () => {
    const watched: string[] = [];
    const watch = clients.health.Watch({ service: 'espalier.v1.RecommendationService' });
    watch.on('data', ({ status }: { status: string }) => watched.push(status));
    watch.on('error', () => {});
    await once(watch, 'data');
    expect(watched).toEqual(['NOT_SERVING']);
    expect((await call(clients.health, 'Check', {})).value).toEqual({ status: 'NOT_SERVING' });
    expect((await fetch(`${server.url}/v2/health/ready`)).status).toBe(503);
    await makeSmallCatalog(server);
    if (watched.length < 2) await once(watch, 'data');
    expect(watched).toEqual(['NOT_SERVING', 'SERVING']);
    watch.cancel();
    for (const service of ['', 'espalier.v1.CatalogService']) {
      expect((await call(clients.health, 'Check', { service })).value).toEqual({ status: 'SERVING' });
    }
    const { error } = await call(clients.health, 'Check', { service: 'espalier.v1.Nothing' });
    expect(error?.status).toBe(5);
  });

  it('is told over the Open Inference Protocol, too', async () => {
    const get = async (path: string) =>
      (await send(server, 'GET', path)) as { status: number; body: unknown };
    expect(await get('/v2/health/live')).toMatchObject({ status: 200, body: { live: true } });
    expect(await get('/v2/health/ready')).toMatchObject({ status: 200, body: { ready: true } });
    expect(await get('/v2')).toMatchObject({ status: 200, body: { name: 'espalier', extensions: [] } });
    expect(await get('/v2/models/table')).toMatchObject({
      status: 200,
      body: {
        name: 'table',
        versions: ['1'],
        outputs: [{ name: 'sid', datatype: 'UINT32', shape: [-1, 2] }, { name: 'score' }],
      },
    });
    expect(await get('/v2/models/table/ready')).toMatchObject({ status: 200, body: { ready: true } });
    expect(await get('/v2/models/nan/ready')).toMatchObject({ status: 503, body: { ready: false } });
    expect(await get('/v2/models/none')).toMatchObject({ status: 404 });
  });
});

describe('management', () => {
  it('makes a catalog, uploads, watches the job, changes items, rolls back: all as over HTTP', async () => {
    const { catalogs, jobs } = clients;
    const put = await call(catalogs, 'PutCatalog', CATALOG, { metadata: { 'x-actor': 'ann' } });
    expect(put.value).toMatchObject({ name: 'rpc', createdBy: 'ann', attributes });
    const etag = String(put.metadata?.get('etag')[0]);
    expect(etag).toBe((await send(server, 'GET', '/v1/catalogs/rpc')).headers.get('etag'));
    const stale = await call(
      catalogs,
      'DeleteCatalog',
      { catalog: 'rpc' },
      { metadata: { 'if-match': '"x"' } },
    );
    expect(stale.error).toMatchObject({ status: 9, info: { code: 'ESP_PRECONDITION_FAILED' } });

    const pieces = [0, 1, 50, ndjson.length].map((end, index, ends) =>
      ndjson.subarray(ends[index - 1] ?? 0, end),
    );
    const parts = [{ header: { ...header, idempotencyKey: 'one' } }, ...pieces.map((chunk) => ({ chunk }))];
    const { value } = await uploadParts(catalogs, 'UploadItems', parts);
    expect(value).toMatchObject({ version: 1, job: { catalog: 'rpc' } });
    const changes = await collect(jobs.WatchJob({ id: value.job.id }));
    expect(changes.at(-1).job.state).toBe('succeeded');
    const again = await uploadParts(catalogs, 'UploadItems', parts);
    expect(again.value.job.id).toBe(value.job.id);
    expect((await call(jobs, 'GetJob', { id: value.job.id })).value.job.state).toBe('succeeded');
    const listed = await call(jobs, 'ListJobs', { state: 'succeeded', limit: 1 });
    expect(listed.value.jobs).toHaveLength(1);

    const patch = {
      catalog: 'rpc',
      remove: ['0-1'],
      update: [struct({ id: '0-0', price: 9.5, colour: null })],
    };
    expect((await call(catalogs, 'PatchItems', patch)).value).toMatchObject({ removed: 1, updated: 1 });
    const item = await call(catalogs, 'GetItem', { catalog: 'rpc', id: '0-0' });
    expect(item.value.attributes).toEqual(
      (await send(server, 'GET', '/v1/catalogs/rpc/items/0-0')).body.attributes,
    );
    expect(item.value.attributes.price).toBe(9.5);

    const gzip = { ...header, contentEncoding: 'gzip' };
    const second = await uploadParts(catalogs, 'UploadItems', [
      { header: gzip },
      { chunk: gzipSync(ndjson) },
    ]);
    expect((await endOf(server, second.value.job.id)).state).toBe('succeeded');
    expect((await call(catalogs, 'ListVersions', { catalog: 'rpc' })).value.versions).toHaveLength(2);
    expect((await call(catalogs, 'RollbackCatalog', { catalog: 'rpc' })).value.activeVersion).toBe(1);
    const activated = await call(catalogs, 'ActivateVersion', { catalog: 'rpc', version: 2 });
    expect(activated.value.activeVersion).toBe(2);
    const names = (await call(catalogs, 'ListCatalogs', {})).value.catalogs.map(({ name }: Client) => name);
    expect(names).toContain('rpc');
    expect((await call(catalogs, 'GetCatalog', { catalog: 'rpc' })).value.earlier.length).toBeGreaterThan(0);
    expect((await call(catalogs, 'DeleteCatalog', { catalog: 'rpc' })).value).toEqual({});
    expect((await send(server, 'GET', '/v1/catalogs/rpc')).status).toBe(404);
  });

  it('makes sets, lists, aliases and previews', async () => {
    const { sets } = clients;
    const at = { catalog: 'small', set: 'cheap' };
    const rule = { ...at, rule: 'price < params.max', params: struct({ max: 2 }) };
    expect((await call(sets, 'PutConstraintSet', rule)).value).toMatchObject({
      version: 1,
      params: { max: 2 },
    });
    expect(
      (await call(sets, 'PutConstraintSet', { ...rule, params: struct({ max: 3 }) })).value.version,
    ).toBe(2);
    expect((await call(sets, 'RollbackConstraintSet', at)).value.version).toBe(1);
    expect((await call(sets, 'ActivateConstraintSet', { ...at, version: 2 })).value.version).toBe(2);
    const list = { catalog: 'small', set: 'list', contentType: 'text/csv', activate: true };
    const chunk = Buffer.from('id\n0-0\n1-1\n');
    const { value } = await uploadParts(sets, 'UploadList', [{ header: list }, { chunk }]);
    expect((await endOf(server, value.job.id)).state).toBe('succeeded');
    const listed = await call(sets, 'ListConstraintSets', { catalog: 'small' });
    expect(listed.value.constraintSets.map(({ name }: Client) => name).sort()).toEqual(['cheap', 'list']);
    const preview = await call(sets, 'PreviewRule', { catalog: 'small', rule: 'colour == "red"' });
    expect(preview.value).toMatchObject({ items: 2, leaves: 2 });
    const actions = [{ set: { alias: 'now', catalog: 'small', constraintSet: 'list' } }];
    expect((await call(sets, 'ChangeAliases', { actions })).value.aliases).toEqual([actions[0].set]);
    expect((await call(sets, 'ListAliases', {})).value.aliases).toEqual([actions[0].set]);
    expect((await call(sets, 'GetConstraintSet', { catalog: 'small', set: 'now' })).value.items).toBe(2);
    const inUse = await call(sets, 'DeleteConstraintSet', { catalog: 'small', set: 'list' });
    expect(inUse.error?.info?.code).toBe('ESP_SET_IN_USE');
    await call(sets, 'ChangeAliases', { actions: [{ delete: { alias: 'now' } }] });
    for (const set of ['cheap', 'list']) {
      expect((await call(sets, 'DeleteConstraintSet', { catalog: 'small', set })).error).toBeUndefined();
    }
  });

  it.each<[string, 'catalogs' | 'sets' | 'jobs', string, object, string]>([
    ['a catalog of no name', 'catalogs', 'GetCatalog', {}, 'ESP_REQUEST_INVALID'],
    [
      'a set whose name leads elsewhere',
      'sets',
      'DeleteConstraintSet',
      { catalog: 'small', set: '..' },
      'ESP_REQUEST_INVALID',
    ],
    [
      'a name with a slash',
      'catalogs',
      'DeleteCatalog',
      { catalog: 'small/versions' },
      'ESP_REQUEST_INVALID',
    ],
    ['a name with a query', 'catalogs', 'GetCatalog', { catalog: 'small?x=1' }, 'ESP_REQUEST_INVALID'],
    ['a version of 0', 'catalogs', 'ActivateVersion', { catalog: 'small' }, 'ESP_REQUEST_INVALID'],
    [
      'an unknown type',
      'catalogs',
      'PutCatalog',
      { ...CATALOG, attributes: { a: { type: 'int' } } },
      'ESP_REQUEST_INVALID',
    ],
    ['no codebooks', 'catalogs', 'PutCatalog', { ...CATALOG, sid: {} }, 'ESP_REQUEST_INVALID'],
    [
      'a model that is not there',
      'catalogs',
      'PutCatalog',
      { ...CATALOG, model: { name: 'none' } },
      'ESP_MODEL_NOT_FOUND',
    ],
    ['no rule', 'sets', 'PutConstraintSet', { catalog: 'small', set: 'a' }, 'ESP_REQUEST_INVALID'],
    [
      'an unknown word',
      'sets',
      'PutConstraintSet',
      { catalog: 'small', set: 'a', rule: 'true', refreshSeconds: 1, whenStale: 'no' },
      'ESP_REQUEST_INVALID',
    ],
    [
      'a negative time',
      'sets',
      'PutConstraintSet',
      { catalog: 'small', set: 'a', rule: 'true', refreshSeconds: -1 },
      'ESP_REQUEST_INVALID',
    ],
    ['an action of nothing', 'sets', 'ChangeAliases', { actions: [{}] }, 'ESP_REQUEST_INVALID'],
    ['a job of a malformed id', 'jobs', 'GetJob', { id: 'x' }, 'ESP_REQUEST_INVALID'],
    ['a job that is not there', 'jobs', 'CancelJob', { id: crypto.randomUUID() }, 'ESP_JOB_NOT_FOUND'],
    ['an unknown state', 'jobs', 'ListJobs', { state: 'lost' }, 'ESP_REQUEST_INVALID'],
    ['a limit of 0', 'jobs', 'ListJobs', { limit: 0 }, 'ESP_REQUEST_INVALID'],
  ])('refuses %s', async (_name, client, method, request, code) => {
    const { error } = await call(clients[client], method, request);
    expect(error?.info?.code, JSON.stringify(error)).toBe(code);
    expect((await send(server, 'GET', '/v1/catalogs/small')).status).toBe(200);
  });

  it.each<[string, object[], string]>([
    ['nothing', [], 'ESP_REQUEST_INVALID'],
    ['bytes without a header', [{ chunk: ndjson }], 'ESP_REQUEST_INVALID'],
    ['an unknown catalog', [{ header }, { chunk: ndjson }], 'ESP_CATALOG_NOT_FOUND'],
    [
      'an unknown type',
      [{ header: { ...header, catalog: 'small', contentType: 'image/png' } }],
      'ESP_MEDIA_TYPE',
    ],
    ['a broken header', [{ header: { ...header, idempotencyKey: 'a\nb' } }], 'ESP_REQUEST_INVALID'],
  ])('refuses an upload of %s', async (_name, parts, code) => {
    const { error } = await uploadParts(clients.catalogs, 'UploadItems', parts);
    expect(error?.info?.code, JSON.stringify(error)).toBe(code);
  });

  it('ends a watch of a job that is not there with its error', async () => {
    const stream = clients.jobs.WatchJob({ id: crypto.randomUUID() });
    stream.on('data', () => {});
    const [error] = await once(stream, 'error');
    expect(errorOf(error)).toMatchObject({ status: 5, info: { code: 'ESP_JOB_NOT_FOUND' } });
  });
});

describe('deadlines and cancelled calls', () => {
  const slow = { catalog: 'slow', k: 1 };
  const waiting = async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^espalier_decode_queue_length(?:\{.*\})? (\d+)/m.exec(text)?.[1]);
  };
  const until = async (isSo: () => Promise<boolean>) => {
    while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  beforeAll(async () => {
    const catalog = { model: 'slow', sid: { codebookSizes: [2, 3] }, attributes };
    await send(server, 'PUT', '/v1/catalogs/slow', catalog);
    const path = '/v1/catalogs/slow/versions?activate=true';
    const { body } = await send(server, 'POST', path, ndjson.toString(), 'application/x-ndjson');
    expect((await endOf(server, body.job.id)).state).toBe('succeeded');
  });

  it('end a call wherever it is, and it leaves the queue', async () => {
    const { recommendations } = clients;
    // The one history over which the model takes seconds: what follows waits behind it.
    const request = { ...slow, history: ['0-0', '1-1'] };
    const answered = [0, 1].map(() => call(recommendations, 'Recommend', request));
    const running = [0, 1].map(() => recommendations.Recommend(request, () => {}));
    await until(async () => (await waiting()) >= 3);
    for (const one of running) one.cancel();
    await until(async () => (await waiting()) <= 2);
    const own = await call(
      recommendations,
      'Recommend',
      { ...request, timeoutMs: 1 },
      { deadline: Date.now() + 60_000 },
    );
    expect(own.error?.info?.code).toBe('ESP_TIMEOUT');
    const late = await call(recommendations, 'Recommend', request, { deadline: Date.now() + 30 });
    expect(late.error?.status).toBe(4);
    await Promise.all(answered);
    await until(async () => (await waiting()) === 0);
  });
});

describe('watches that are left', () => {
  it('end at any moment, and the server lives', async () => {
    const id = (await call(clients.jobs, 'ListJobs', { limit: 1 })).value.jobs[0].id;
    const watched = Array.from({ length: 40 }, (_, index) => {
      const deadline = index % 2 === 0 ? { deadline: Date.now() + index / 4 } : {};
      const stream = clients.jobs.WatchJob({ id }, metadataOf({}), deadline);
      stream.on('data', () => {});
      stream.on('error', () => {});
      if (index % 2 === 1) setTimeout(() => stream.cancel(), index / 4);
      return new Promise((resolve) => stream.on('close', resolve).on('end', resolve).on('error', resolve));
    });
    await Promise.all(watched);
    expect((await call(clients.jobs, 'GetJob', { id })).value.job.id).toBe(id);
  });
});

describe('Connect and gRPC-Web', () => {
  const path = '/espalier.v1.RecommendationService/Recommend';
  const post = (type: string, body: string | Buffer<ArrayBuffer>, headers = {}) =>
    fetch(`${server.url}${path}`, { method: 'POST', headers: { 'content-type': type, ...headers }, body });
  /** {catalog: "small", k: 2} */
  const message = Buffer.from([0x0a, 5, ...Buffer.from('small'), 0x20, 2]);
  const envelope = (bytes: Buffer) => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    return Buffer.concat([prefix, bytes]);
  };

  it('answers Connect in JSON', async () => {
    const answer = await post('application/json', JSON.stringify({ catalog: 'small', k: 2 }));
    expect(answer.status).toBe(200);
    const http = await send(server, 'POST', '/v1/recommend', { catalog: 'small', history: [], k: 2 });
    expect(((await answer.json()) as Client).items).toEqual(http.body.items);
  });

  it('answers Connect in binary', async () => {
    const answer = await post('application/proto', message);
    expect(answer.status).toBe(200);
    expect(Buffer.from(await answer.arrayBuffer()).includes('0-0')).toBe(true);
  });

  it('answers gRPC-Web', async () => {
    const answer = await post('application/grpc-web+proto', envelope(message));
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(answer.status).toBe(200);
    expect(bytes.includes('grpc-status: 0')).toBe(true);
    expect(bytes.includes('0-0')).toBe(true);
  });

  it('refuses with the code, and its detail', async () => {
    const answer = await post('application/json', JSON.stringify({ catalog: 'small', k: 0 }));
    expect(answer.status).toBe(400);
    const error = (await answer.json()) as Client;
    expect(error.code).toBe('invalid_argument');
    expect(error.details[0]).toMatchObject({
      type: 'espalier.v1.ErrorInfo',
      debug: { code: 'ESP_REQUEST_INVALID', details: [{ field: 'k' }] },
    });
  });

  const unknownField = Buffer.from([0xf8, 6, 1]);
  const notUtf8 = Buffer.from([0x0a, 2, 0xc3, 0x28]);
  const truncated = message.subarray(0, 4);
  const beyondBodyLimit = Buffer.alloc(33 << 20, ' ');

  it.each<[string, string, string | Buffer<ArrayBuffer>, number, string]>([
    [
      'a misspelt field of JSON',
      'application/json',
      '{"catalog":"small","constraints":{}}',
      400,
      'ESP_REQUEST_INVALID',
    ],
    ['a field of another type', 'application/json', '{"catalog":5}', 400, 'ESP_REQUEST_INVALID'],
    ['a name that comes twice', 'application/json', '{"k":1,"k":2}', 400, 'ESP_REQUEST_INVALID'],
    ['malformed JSON', 'application/json', '{"catalog":"', 400, 'ESP_BODY_MALFORMED'],
    ['JSON that is no object', 'application/json', '[]', 400, 'ESP_BODY_MALFORMED'],
    [
      'JSON that is not UTF-8',
      'application/json',
      Buffer.from([0x22, 0xc3, 0x28, 0x22]),
      400,
      'ESP_BODY_MALFORMED',
    ],
    ['half a character', 'application/json', '{"catalog":"\\ud800"}', 400, 'ESP_BODY_MALFORMED'],
    [
      'an unknown field',
      'application/proto',
      Buffer.concat([message, unknownField]),
      400,
      'ESP_REQUEST_INVALID',
    ],
    [
      'an unknown field of a constraint',
      'application/proto',
      Buffer.concat([message, Buffer.from([0x32, 3]), unknownField]),
      400,
      'ESP_REQUEST_INVALID',
    ],
    ['invalid UTF-8', 'application/proto', notUtf8, 400, 'ESP_BODY_MALFORMED'],
    ['a truncated message', 'application/proto', truncated, 400, 'ESP_BODY_MALFORMED'],
    ['a message beyond the limit', 'application/proto', beyondBodyLimit, 429, 'ESP_BODY_TOO_LARGE'],
  ])('refuses %s', async (_name, type, body, status, code) => {
    const answer = await post(type, body);
    const error = (await answer.json()) as Client;
    expect([answer.status, error.details[0].debug.code]).toEqual([status, code]);
  });

  it.each<[string, Record<string, string>, number, string]>([
    ['an encoding', { 'content-encoding': 'br' }, 501, 'ESP_MEDIA_TYPE'],
    ['a deadline', { 'connect-timeout-ms': 'soon' }, 400, 'ESP_REQUEST_INVALID'],
  ])('refuses %s that it does not know', async (_name, headers, status, code) => {
    const answer = await post('application/proto', message, headers);
    const error = (await answer.json()) as Client;
    expect([answer.status, error.details[0].debug.code]).toEqual([status, code]);
  });

  it.each<[string, string, Record<string, string>, Buffer<ArrayBuffer>, number, string]>([
    ['invalid UTF-8', 'web+proto', {}, envelope(notUtf8), 3, 'ESP_BODY_MALFORMED'],
    ['JSON of no message', 'web+json', {}, envelope(Buffer.from('{"x":1}')), 3, 'ESP_REQUEST_INVALID'],
    ['a truncated envelope', 'web+proto', {}, envelope(message).subarray(0, 8), 3, 'ESP_BODY_MALFORMED'],
    ['no message', 'web+proto', {}, Buffer.alloc(0), 12, 'ESP_BODY_MALFORMED'],
    ['two', 'web+proto', {}, Buffer.concat([envelope(message), envelope(message)]), 12, 'ESP_BODY_MALFORMED'],
    ['a packed message', 'web+proto', {}, Buffer.from([1, 0, 0, 0, 1, 0]), 3, 'ESP_BODY_MALFORMED'],
    ['an encoding', 'web+proto', { 'grpc-encoding': 'br' }, envelope(message), 12, 'ESP_MEDIA_TYPE'],
  ])('refuses %s over gRPC-Web', async (_name, type, headers, body, status, code) => {
    const answer = await post(`application/grpc-${type}`, body, headers);
    const text = await answer.text();
    expect(text).toContain(`grpc-status: ${status}\r\n`);
    const details = /grpc-status-details-bin: (\S+)/.exec(text)?.[1] ?? '';
    expect(Buffer.from(details, 'base64').toString('latin1')).toContain(code);
  });

  it.each<[string, string, string, string, number, string]>([
    ['another content type', 'POST', path, 'text/plain', 415, 'ESP_MEDIA_TYPE'],
    [
      'a stream of the one protocol as a call',
      'POST',
      path,
      'application/connect+json',
      415,
      'ESP_MEDIA_TYPE',
    ],
    ['another method', 'PUT', path, 'application/json', 405, 'ESP_ROUTE_NOT_FOUND'],
    [
      'a stream in both directions over HTTP/1.1',
      'POST',
      `${path}Stream`,
      'application/connect+json',
      505,
      'ESP_ROUTE_NOT_FOUND',
    ],
  ])('refuses %s as HTTP does', async (_name, method, to, type, status, code) => {
    const headers = { 'content-type': type };
    const answer = await fetch(`${server.url}${to}`, { method, headers, body: '{}' });
    expect([answer.status, ((await answer.json()) as Client).error.code]).toEqual([status, code]);
  });

  it('is not in the document of HTTP', async () => {
    const { paths } = (await send(server, 'GET', '/openapi.json')).body;
    expect(Object.keys(paths).filter((one) => one.includes('espalier.v1'))).toEqual([]);
  });
});

describe('peers that misbehave', () => {
  const serves = async () => {
    const { value } = await call(clients.recommendations, 'Recommend', { catalog: 'small', k: 1 });
    expect(value.items).toHaveLength(1);
  };

  it('keeps serving beside a peer that does not speak HTTP/2', async () => {
    const [host, port] = server.grpcAddress!.split(':');
    const socket = connectTcp(Number(port), host);
    socket.on('error', () => {});
    socket.resume();
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'close');
    await serves();
  });

  it('keeps serving beside calls that are half sent, and ends them with their connection', async () => {
    const session = connect(`http://${server.grpcAddress}`);
    session.on('error', () => {});
    for (let i = 0; i < 20; i++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/espalier.v1.RecommendationService/Recommend',
        'content-type': 'application/grpc+proto',
        te: 'trailers',
      });
      stream.on('error', () => {});
      stream.write(Buffer.from([0, 0, 0, 0, 9, 0x0a]));
    }
    await serves();
    session.destroy();
    await serves();
  });

  const recommendPath = '/espalier.v1.RecommendationService/Recommend';
  /** {catalog: "small", k: 1} in its envelope. */
  const inOrder = Buffer.from([0, 0, 0, 0, 9, 0x0a, 5, ...Buffer.from('small'), 0x20, 1]);

  it.each<[string, string, Record<string, string>, Buffer, number, string]>([
    ['no method', `${recommendPath}More`, {}, inOrder, 12, 'ESP_ROUTE_NOT_FOUND'],
    ['no service', '/espalier.v1.Nothing/Recommend', {}, inOrder, 12, 'ESP_ROUTE_NOT_FOUND'],
    [
      'bytes that are no message',
      recommendPath,
      {},
      Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
      3,
      'ESP_BODY_MALFORMED',
    ],
    [
      'bytes that are no message, to a stream',
      `${recommendPath}Stream`,
      {},
      Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
      3,
      'ESP_BODY_MALFORMED',
    ],
    ['a truncated envelope', recommendPath, {}, inOrder.subarray(0, 8), 3, 'ESP_BODY_MALFORMED'],
    [
      'a truncated envelope in an upload',
      '/espalier.v1.CatalogService/UploadItems',
      {},
      inOrder.subarray(0, 8),
      3,
      'ESP_BODY_MALFORMED',
    ],
    ['no message', recommendPath, {}, Buffer.alloc(0), 12, 'ESP_BODY_MALFORMED'],
    [
      'no message to a watch',
      '/espalier.v1.JobService/WatchJob',
      {},
      Buffer.alloc(0),
      12,
      'ESP_BODY_MALFORMED',
    ],
    ['two messages', recommendPath, {}, Buffer.concat([inOrder, inOrder]), 12, 'ESP_BODY_MALFORMED'],
    ['a packed message', recommendPath, {}, Buffer.from([1, 0, 0, 0, 1, 0]), 3, 'ESP_BODY_MALFORMED'],
    ['more than 4 GB', recommendPath, {}, Buffer.alloc(5, 0xff), 8, 'ESP_BODY_TOO_LARGE'],
    ['an unknown encoding', recommendPath, { 'grpc-encoding': 'br' }, inOrder, 12, 'ESP_MEDIA_TYPE'],
    [
      'an unknown encoding, to a stream',
      `${recommendPath}Stream`,
      { 'grpc-encoding': 'br' },
      inOrder,
      12,
      'ESP_MEDIA_TYPE',
    ],
    ['a malformed deadline', recommendPath, { 'grpc-timeout': 'soon' }, inOrder, 3, 'ESP_REQUEST_INVALID'],
  ])('refuses %s with its code', async (_name, to, headers, bytes, status, code) => {
    expect(await rawCall(server.grpcAddress!, to, bytes, { headers })).toEqual({ status, code });
    await serves();
  });

  it('counts a fault of the protocol as what it is', async () => {
    const count = async () => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      const errors = /^espalier_errors_total\{code="ESP_BODY_MALFORMED"\} (\d+)/m.exec(text);
      const requests =
        /^espalier_http_request_duration_seconds_count\{.*route="\/espalier.v1.RecommendationService\/Recommend".*status="400".*\} (\d+)/m.exec(
          text,
        );
      return { errors: Number(errors?.[1] ?? 0), requests: Number(requests?.[1] ?? 0) };
    };
    const before = await count();
    await rawCall(server.grpcAddress!, recommendPath, Buffer.alloc(0));
    expect(await count()).toEqual({ errors: before.errors + 1, requests: before.requests + 1 });
  });

  it('takes a message in whatever pieces it comes', async () => {
    const session = connect(`http://${server.grpcAddress}`);
    for (let cut = 1; cut < inOrder.length; cut++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': recommendPath,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const trailers = once(stream, 'trailers');
      stream.resume().write(inOrder.subarray(0, cut));
      await new Promise((resolve) => setTimeout(resolve, 5));
      stream.end(inOrder.subarray(cut));
      expect((await trailers)[0]).toMatchObject({ 'grpc-status': '0' });
    }
    session.destroy();
  });

  it('names a call as its caller does, whether it succeeds or not', async () => {
    for (const k of [1, 0]) {
      const metadata = { 'x-request-id': 'mine' };
      const reply = await call(clients.recommendations, 'Recommend', { catalog: 'small', k }, { metadata });
      expect(reply.error?.info?.code).toBe(k === 1 ? undefined : 'ESP_REQUEST_INVALID');
      expect(reply.metadata?.get('x-request-id')).toEqual(['mine']);
    }
  });

  it('answers what is not gRPC as HTTP does', async () => {
    const headers = { 'content-type': 'text/plain' };
    for (const [to, httpStatus, code] of [
      [recommendPath, 415, 'ESP_MEDIA_TYPE'],
      ['/nothing', 404, 'ESP_ROUTE_NOT_FOUND'],
    ] as const) {
      expect(await rawCall(server.grpcAddress!, to, inOrder, { headers })).toEqual({ httpStatus, code });
    }
  });
});
