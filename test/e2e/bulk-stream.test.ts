import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { until } from '../helpers/build-load.js';
import { makeDataDir, makeModelsDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

const NDJSON = { 'content-type': 'application/x-ndjson' };
const good = { catalog: 'small', history: ['0-0'], k: 3, beamWidth: 3 };
const line = JSON.stringify(good);
const models = makeModelsDir();
let server: ServerProcess;

async function start(...options: string[]): Promise<ServerProcess> {
  const started = await startTestServer(makeDataDir(), options, models);
  await makeSmallCatalog(started);
  return started;
}

beforeAll(async () => {
  server = await start('--body-limit-bytes', '2048', '--upload-idle-timeout-ms', '400');
  await putRule(server, 'red', 'colour == "red"');
});
afterAll(() => server.stop());

const parse = (text: string) =>
  text
    .split('\n')
    .filter((one) => one !== '')
    .map((one) => JSON.parse(one));

async function post(body: string | Buffer, headers: Record<string, string> = NDJSON, to = server) {
  const response = await fetch(`${to.url}/v1/bulk-recommendations`, { method: 'POST', headers, body });
  return { response, lines: response.ok ? parse(await response.text()) : [] };
}

/** A stream that is written and read by hand. */
async function open(to = server): Promise<{ writer: ClientRequest; reader: Promise<IncomingMessage> }> {
  const writer = request(`${to.url}/v1/bulk-recommendations`, { method: 'POST', headers: NDJSON });
  writer.on('error', () => {});
  const reader = once(writer, 'response').then(([response]) => response as IncomingMessage);
  return { writer, reader };
}

async function linesDone(of = server): Promise<number> {
  const text = await (await fetch(`${of.url}/metrics`)).text();
  const counts = text.matchAll(/^espalier_bulk_requests_total\{.*\} (\d+)$/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
}

/** The count once it has stood still for a while. */
async function stableCount(): Promise<number> {
  for (let before = -1; ; ) {
    const count = await linesDone();
    if (count === before) return count;
    before = count;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

describe('a bulk stream', () => {
  it('answers every line as a request of its own, in order, and names the lines', async () => {
    const requests = Array.from({ length: 300 }, (_, index) => ({
      ...good,
      k: 1 + (index % 3),
      constraint: index % 2 === 0 ? {} : { set: 'red' },
    }));
    const body = `\n${requests.map((one) => JSON.stringify(one)).join('\r\n \n')}`;
    const { response, lines } = await post(body);
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    expect(lines.map((one) => one.line)).toEqual(requests.map((_, index) => 2 + 2 * index));
    for (const index of [0, 1, 2, 3, 4, 5]) {
      const { timings, ...alone } = (await send(server, 'POST', '/v1/recommend', requests[index])).body;
      expect(lines[index]).toEqual({ line: 2 + 2 * index, timings: expect.anything(), ...alone });
    }
    const packed = await post(gzipSync(body), { ...NDJSON, 'content-encoding': 'gzip' });
    const ids = (found: typeof lines) => found.map(({ items }) => items.map(({ id }: { id: string }) => id));
    expect(ids(packed.lines)).toEqual(ids(lines));
  });

  it('gives a bad line its error, and goes on', async () => {
    const deep = `${'['.repeat(900)}${']'.repeat(900)}`;
    const bad: [string | Buffer, string][] = [
      ['{"catalog": ', 'ESP_BODY_MALFORMED'],
      [Buffer.from([0x22, 0xff, 0x22]), 'ESP_BODY_MALFORMED'],
      [
        '{"catalog": "small", "history": [], "constraint": {"params": {"__proto__": 1}}}',
        'ESP_BODY_MALFORMED',
      ],
      ['{"catalog": "small", "history": [], "history": ["0-0"]}', 'ESP_REQUEST_INVALID'],
      ['{"catalog": "small", "history": [], "constrain": {}}', 'ESP_REQUEST_INVALID'],
      [deep, 'ESP_REQUEST_INVALID'],
      [`{"catalog": "small", "history": [${deep}]}`, 'ESP_REQUEST_INVALID'],
      [`"${'x'.repeat(300_000)}"`, 'ESP_BODY_TOO_LARGE'],
      ['{"catalog": "nowhere", "history": []}', 'ESP_CATALOG_NOT_FOUND'],
      ['{"catalog": "small", "history": [], "constraint": {"set": "none"}}', 'ESP_SET_NOT_FOUND'],
    ];
    const body = Buffer.concat(bad.flatMap(([text]) => [Buffer.from(text), Buffer.from(`\n${line}\n`)]));
    const { lines } = await post(body);
    expect(lines).toHaveLength(2 * bad.length);
    bad.forEach(([, code], index) => {
      expect(lines[2 * index]).toMatchObject({ line: 2 * index + 1, error: { code } });
      expect(lines[2 * index + 1].items).toHaveLength(3);
    });
    const { body: alone } = await send(server, 'POST', '/v1/recommend', bad[4][0]);
    expect(lines[8]).toEqual({ line: 9, ...alone });
  });

  it('that is none gets a typed error, or nothing', async () => {
    expect((await post('')).lines).toEqual([]);
    const wrong = await post(line, { 'content-type': 'application/json' });
    expect([
      wrong.response.status,
      ((await wrong.response.json()) as { error: { code: string } }).error.code,
    ]).toEqual([415, 'ESP_MEDIA_TYPE']);
    const encoded = await post(line, { ...NDJSON, 'content-encoding': 'br' });
    expect(encoded.response.status).toBe(415);
    const unpacked = await post(line, { ...NDJSON, 'content-encoding': 'gzip' });
    expect(unpacked.lines).toEqual([
      { line: 1, error: { code: 'ESP_BODY_MALFORMED', message: 'the body is no gzip' } },
    ]);
    const member = gzipSync(`${line}\n`);
    const damaged = Buffer.concat([member, Buffer.alloc(8), member]);
    const half = await post(damaged, { ...NDJSON, 'content-encoding': 'gzip' });
    expect(half.lines.at(-1)).toMatchObject({
      error: { code: 'ESP_BODY_MALFORMED', message: 'the body is no gzip' },
    });
  });

  it('answers a line before the next one comes, and ends when none comes any more', async () => {
    const { writer, reader } = await open();
    writer.write(`${line}\n`);
    const response = await reader;
    const [first] = await once(response, 'data');
    expect(parse(String(first))).toMatchObject([{ line: 1, complete: true }]);
    writer.write(`${line}\n`);
    let rest = '';
    for await (const chunk of response) rest += chunk;
    expect(parse(rest)).toMatchObject([{ line: 2 }, { line: 3, error: { code: 'ESP_UPLOAD_STALLED' } }]);
    writer.destroy();
  });

  it('takes no more lines than its reader makes room for', async () => {
    const before = await linesDone();
    const { writer, reader } = await open();
    // Far more than all buffers on the way hold, of the requests and of the answers.
    const chunk = `${line}\n`.repeat(1_000);
    let isFull = false;
    for (let count = 0; count < 400 && !isFull; count++) {
      if (writer.write(chunk)) continue;
      isFull = await Promise.race([
        once(writer, 'drain').then(() => false),
        new Promise<true>((resolve) => setTimeout(resolve, 1_500, true)),
      ]);
    }
    expect(isFull).toBe(true);
    (await reader).pause();
    const stuck = await stableCount();
    // What 32 answers, 16 KiB, and the sockets of both ends hold.
    expect(stuck - before).toBeLessThan(60_000);
    expect((await send(server, 'POST', '/v1/recommend', good)).status).toBe(200);
    writer.destroy();
  });

  it('stops when its client goes away', async () => {
    const before = await stableCount();
    const { writer, reader } = await open();
    writer.write(`${line}\n`.repeat(20_000));
    (await reader).destroy();
    writer.destroy();
    expect(await stableCount()).toBeLessThan(before + 20_000);
  });
});

describe('bulk streams', () => {
  it('leave single requests room in the queue', async () => {
    const crowded = await start(
      '--decode-queue-limit',
      '4',
      '--decode-engines',
      '1',
      '--max-batch-rows',
      '3',
    );
    const body = `${line}\n`.repeat(600);
    const streams = [post(body, NDJSON, crowded), post(body, NDJSON, crowded)];
    await until(async () => (await linesDone(crowded)) > 0);
    for (let count = 0; count < 20; count++) {
      expect((await send(crowded, 'POST', '/v1/recommend', good)).status).toBe(200);
    }
    for (const { lines } of await Promise.all(streams)) {
      expect(lines.filter(({ error }) => error !== undefined)).toEqual([]);
      expect(lines).toHaveLength(600);
    }
    await crowded.stop();
  });

  it('end with a typed line when the server does, every line before it whole', async () => {
    const ending = await start();
    const { writer, reader } = await open(ending);
    writer.write(`${line}\n`.repeat(10));
    let text = '';
    const read = reader.then(async (response) => {
      for await (const chunk of response) text += chunk;
    });
    await until(() => text.split('\n').length > 10);
    const stopped = ending.stop();
    await read;
    const lines = parse(text);
    expect(lines.at(-1)).toMatchObject({ line: lines.length, error: { code: 'ESP_SHUTTING_DOWN' } });
    expect(lines.slice(0, -1).every(({ items }) => items.length === 3)).toBe(true);
    writer.destroy();
    await stopped;
  });
});
