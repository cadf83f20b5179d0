import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerProcess, startServerProcess } from '../../examples/online-retail/server-process.js';
import { loadConfig } from '../../src/server/config.js';
import { startTracing } from '../../src/server/tracing/start-tracing.js';
import { makeDataDir, makeModelsDir, send } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';
import { startTraceReceiver } from '../helpers/trace-receiver.js';

type Receiver = Awaited<ReturnType<typeof startTraceReceiver>>;
// biome-ignore lint/suspicious/noExplicitAny: log lines have many shapes.
type Line = any;

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const BODY = { catalog: 'small', history: [], k: 2, constraint: { set: 'cheap', filter: 'colour == "red"' } };

let receiver: Receiver;
let server: ServerProcess;
const lines: Line[] = [];

beforeAll(async () => {
  receiver = await startTraceReceiver();
  server = await startLogged([
    '--log-level',
    'debug',
    '--slow-request-ms',
    '1',
    '--recheck-share',
    '1',
    '--otlp-url',
    receiver.url,
    '--trace-share',
    '0',
  ]);
  await makeSmallCatalog(server);
  await putRule(server, 'cheap', 'price < 2.0');
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});

/** Its log goes to `lines`. */
async function startLogged(options: string[]): Promise<ServerProcess> {
  const models = ['--models-dir', makeModelsDir()];
  const started = await startServerProcess(makeDataDir(), 0, [...models, ...options], 'pipe');
  createInterface({ input: started.process.stdout! }).on('line', (line) => lines.push(JSON.parse(line)));
  return started;
}

const recommend = (headers: Record<string, string> = {}, body: object = BODY) =>
  send(server, 'POST', '/v1/recommend', body, 'application/json', headers);

/** The log is written by another process. */
async function lineWhere(matches: (line: Line) => boolean): Promise<Line> {
  for (;;) {
    const found = lines.find(matches);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What is sent as it is, and what comes. */
function sendRaw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.setEncoding('utf8');
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

describe('request ids', () => {
  it.each([
    ['an answer', () => recommend({ 'x-request-id': 'mine' }), 200],
    ['an error', () => recommend({ 'x-request-id': 'mine' }, { catalog: 'small', k: 0 }), 400],
    ['no route', () => send(server, 'GET', '/nowhere', undefined, '', { 'x-request-id': 'mine' }), 404],
    ['no URL', () => send(server, 'GET', '/v1/jobs/%zz', undefined, '', { 'x-request-id': 'mine' }), 400],
  ])('of the caller come back on %s', async (_, ask, status) => {
    const reply = await ask();
    expect(reply.status).toBe(status);
    expect(reply.headers.get('x-request-id')).toBe('mine');
  });

  it('are made where the caller sends none, or a malformed one', async () => {
    for (const headers of [{}, { 'x-request-id': 'two words' }]) {
      const reply = await recommend(headers as Record<string, string>);
      expect(reply.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  it('that come twice at once are two requests, of which one may be cancelled', async () => {
    const ask = (signal?: AbortSignal) =>
      fetch(`${server.url}/v1/recommend`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-request-id': 'twin' },
        body: JSON.stringify(BODY),
        ...(signal && { signal }),
      });
    const controller = new AbortController();
    const gone = ask(controller.signal).catch(() => undefined);
    const others = Array.from({ length: 8 }, () => ask());
    controller.abort();
    await gone;
    for (const { status, headers } of await Promise.all(others)) {
      expect(status).toBe(200);
      expect(headers.get('x-request-id')).toBe('twin');
    }
  });
});

describe('the log', () => {
  it('has changes at info and recommend requests at debug, without queries or credentials', async () => {
    const headers = { 'x-request-id': 'change', 'x-actor': 'ann', authorization: 'Bearer s3cret' };
    const path = '/v1/catalogs/small/constraint-sets/cheap';
    await send(server, 'PUT', path, { rule: 'price < 2.0' }, 'application/json', headers);
    await recommend({ 'x-request-id': 'asked', authorization: 'Bearer s3cret' });
    await send(server, 'GET', '/v1/jobs?limit=s3cret', undefined, '', { 'x-request-id': 'query' });
    const change = await lineWhere(({ reqId }) => reqId === 'change');
    expect(change).toMatchObject({
      level: 30,
      method: 'PUT',
      path,
      route: '/v1/catalogs/:catalog/constraint-sets/:set',
      status: 200,
      actor: 'ann',
    });
    const isAccess = (id: string) => (line: Line) => line.reqId === id && line.msg === 'request';
    expect(await lineWhere(isAccess('asked'))).toMatchObject({ level: 20, status: 200 });
    expect(await lineWhere(isAccess('query'))).toMatchObject({
      level: 20,
      path: '/v1/jobs',
      status: 400,
      code: 'ESP_REQUEST_INVALID',
    });
    expect(JSON.stringify(lines)).not.toContain('s3cret');
  });

  it('has slow requests with their timings', async () => {
    // The limit is a millisecond: sooner or later one takes that long.
    for (let run = 0; !lines.some(({ level, reqId }) => level === 40 && /^slow/.test(reqId ?? '')); run++) {
      await recommend({ 'x-request-id': `slow${run}` }, { ...BODY, explain: true });
    }
    const slow = await lineWhere(({ level, reqId }) => level === 40 && /^slow/.test(reqId ?? ''));
    expect(Object.keys(slow.timings)).toEqual(['queueMs', 'prefillMs', 'modelMs', 'constraintMs', 'totalMs']);
    expect(slow).toMatchObject({ catalog: 'small', msg: 'a recommend request was slow' });
  });
});

describe('metrics', () => {
  it('are all exported by a server that has answered, as documented', async () => {
    await recommend();
    await recommend({}, { ...BODY, catalog: 'nobody' });
    await sendRaw('nonsense\r\n\r\n');
    await sendRaw('BREW /pot HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n');
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const docs = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
    const documented = Array.from(docs.matchAll(/^\| `(espalier_\w+)` \|/gm), ([, name]) => name);
    expect(documented.length).toBeGreaterThan(30);
    const exported = text.split('\n').filter((line) => !line.startsWith('#'));
    const missing = documented.filter(
      (name) => !exported.some((line) => new RegExp(`^${name}(_bucket)?[ {]`).test(line)),
    );
    for (const name of [
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
      'nodejs_heap_size_used_bytes',
    ]) {
      expect(
        exported.some((line) => new RegExp(`^${name} [0-9.e+]+$`).test(line)),
        name,
      ).toBe(true);
    }
    // This server has no Redis.
    expect(missing).toEqual(['espalier_redis_up']);
    const value = (series: string) =>
      Number(exported.find((line) => line.startsWith(`${series} `))?.slice(series.length + 1));
    for (const stage of ['prefill', 'model_step', 'constraint_step']) {
      expect(value(`espalier_decode_${stage}_seconds_count`), stage).toBeGreaterThan(0);
    }
    expect(value('espalier_decode_batch_fill_ratio_count')).toBeGreaterThan(0);
    expect(value('espalier_catalog_items{catalog="small"}')).toBe(6);
    expect(value('espalier_catalog_bytes{catalog="small"}')).toBeGreaterThan(0);
    expect(value('espalier_constraint_set_items{catalog="small"}')).toBe(3);
    expect(value('espalier_errors_total{code="ESP_CATALOG_NOT_FOUND"}')).toBe(1);
    expect(value('espalier_errors_total{code="ESP_BODY_MALFORMED"}')).toBeGreaterThan(0);
    expect(value('espalier_decode_dead_beams_total')).toBe(0);
  });

  it('count second looks at answers, and no violations', async () => {
    const passed = async () => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      expect(text).toMatch(/^espalier_recommend_violations_total\{kind="set"\} 0$/m);
      return Number(/^espalier_recommend_rechecks_total\{outcome="passed"\} (.*)$/m.exec(text)![1]);
    };
    const before = await passed();
    await recommend();
    while ((await passed()) === before) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

describe('traces', () => {
  it('are made by nobody where they are not configured, whatever the environment says to others', async () => {
    const others = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_TRACES_EXPORTER: 'otlp' };
    const config = loadConfig({ dataDir: 'data', modelsDir: 'models' }, others);
    expect(await startTracing(config, () => {})).toBeUndefined();
    const traced = await startTracing({ ...config, otlpUrl: receiver.url }, () => {});
    expect(traced).toBeDefined();
    await traced!.close();
  });

  it('go to the collector as part of the caller’s, with a span for each part of the decode', async () => {
    const traceparent = `00-${TRACE}-${PARENT}-01`;
    expect((await recommend({ traceparent })).status).toBe(200);
    expect((await recommend({ traceparent }, { ...BODY, catalog: 'nobody' })).status).toBe(404);
    // The caller decides, and without one the share of 0.
    await recommend({ traceparent: `00-${TRACE.replace('4', '5')}-${PARENT}-00` });
    await recommend();
    while (receiver.spans.length < 6) await new Promise((resolve) => setTimeout(resolve, 10));
    expect([...receiver.services]).toEqual(['espalier']);
    const { spans } = receiver;
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([TRACE]));
    const requests = spans.filter(({ parentSpanId }) => parentSpanId === PARENT);
    expect(requests.map(({ name }) => name)).toEqual(['POST /v1/recommend', 'POST /v1/recommend']);
    const [answered, refused] = [200, 404].map(
      (status) => requests.find(({ attributes }) => attributes['http.response.status_code'] === status)!,
    );
    expect(answered.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/v1/recommend',
      'http.response.status_code': 200,
    });
    expect(refused.attributes['error.type']).toBe('ESP_CATALOG_NOT_FOUND');
    const parts = spans.filter(({ parentSpanId }) => parentSpanId === answered.spanId);
    expect(parts.map(({ name }) => name)).toEqual(['queue', 'prefill', 'model', 'constraint']);
    const nanoseconds = parts.flatMap((span) => [
      BigInt(span.startTimeUnixNano),
      BigInt(span.endTimeUnixNano),
    ]);
    expect(nanoseconds).toEqual([...nanoseconds].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    expect(spans).toHaveLength(6);
  });

  it('that cannot be sent are told of, and keep nothing from closing', async () => {
    const gone = await startTraceReceiver();
    await gone.close();
    const other = await startLogged(['--otlp-url', gone.url]);
    await send(other, 'GET', '/v1/jobs');
    await other.stop();
    expect(other.process.exitCode).toBe(0);
    const said = await lineWhere(({ level, msg }) => level === 40 && /spans could not be sent/.test(msg));
    expect(said.pid).toBe(other.process.pid);
  });
});
