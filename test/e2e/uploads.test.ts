import { readdirSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import {
  Field,
  Float64,
  Int32,
  List,
  Table,
  TimestampMillisecond,
  tableToIPC,
  Uint16,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail, type RetailItem, readItems } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, type Reply, send, startTestServer } from '../helpers/server.js';

type UploadedItem = RetailItem & { buyers: number; units: number };

const dataDir = makeDataDir();
const CSV = 'text/csv; charset=utf-8';
let server: ServerProcess;
let items: UploadedItem[];
let before: unknown;

beforeAll(async () => {
  server = await startTestServer(dataDir, ['--upload-limit-bytes', '2000000']);
  await loadRetail(server.url);
  items = (await readItems()) as UploadedItem[];
  before = await ask();
});
afterAll(() => server.stop());

async function ask(): Promise<unknown> {
  const request = {
    catalog: 'retail',
    history: ['20725', '85099B', '85123A'],
    constraint: { filter: 'price < 3.0 && "France" in countries' },
    attributes: ['title', 'price', 'countries', 'firstSold', 'buyers'],
  };
  const { status, body } = await send(server, 'POST', '/v1/recommend', request);
  expect(status).toBe(200);
  return body.items;
}

async function post(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) {
  const url = `${server.url}/v1/catalogs/retail/versions?activate=true`;
  const response = await fetch(url, { method: 'POST', headers, body });
  return { status: response.status, body: (await response.json()) as Reply['body'] };
}

/** The job of an upload, when it has ended. */
async function build(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) {
  const answer = await post(body, headers);
  expect(answer.status).toBe(202);
  for (;;) {
    const { job } = (await send(server, 'GET', `/v1/jobs/${answer.body.job.id}`)).body;
    if (job.state !== 'queued' && job.state !== 'running') return job;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const columns = [
  'id',
  'sid',
  'title',
  'price',
  'countries',
  'firstSold',
  'lastSold',
  'buyers',
  'units',
] as const;

function asCsv(): string {
  const field = (value: unknown) => `"${String(value).replaceAll('"', '""')}"`;
  const lines = items.map((item) =>
    columns
      .map((name) => {
        if (name === 'sid') return item.sid.join('-');
        return field(name === 'countries' ? item.countries.join('|') : item[name]);
      })
      .join(','),
  );
  return `${columns.join(',')}\n${lines.join('\n')}\n`;
}

function asArrow(): Uint8Array<ArrayBuffer> {
  const list = <T extends Utf8 | Uint16>(type: T) => new List(new Field('item', type, true));
  const of = <Name extends keyof UploadedItem>(name: Name) => items.map((item) => item[name]);
  const times = (name: 'firstSold' | 'lastSold') =>
    vectorFromArray(
      of(name).map((time) => Date.parse(time)),
      new TimestampMillisecond(),
    );
  const table = new Table({
    id: vectorFromArray(of('id'), new Utf8()),
    sid: vectorFromArray(of('sid'), list(new Uint16())),
    title: vectorFromArray(of('title'), new Utf8()),
    price: vectorFromArray(of('price'), new Float64()),
    countries: vectorFromArray(of('countries'), list(new Utf8())),
    firstSold: times('firstSold'),
    lastSold: times('lastSold'),
    buyers: vectorFromArray(of('buyers'), new Int32()),
    units: vectorFromArray(of('units'), new Int32()),
  });
  return new Uint8Array(tableToIPC(table, 'stream'));
}

describe('uploads', () => {
  it('in another format, packed, give the same recommendations', async () => {
    const csv = await build(new Uint8Array(gzipSync(asCsv())), {
      'content-type': CSV,
      'content-encoding': 'gzip',
    });
    expect([csv.state, csv.result.items]).toEqual(['succeeded', items.length]);
    expect(await ask()).toEqual(before);
    const arrow = await build(asArrow(), { 'content-type': 'application/vnd.apache.arrow.stream' });
    expect([arrow.state, arrow.result.version]).toEqual(['succeeded', csv.result.version + 1]);
    expect(await ask()).toEqual(before);
  });

  it('that are not what they say fail, and change nothing', async () => {
    const active = async () => (await send(server, 'GET', '/v1/catalogs/retail')).body.active;
    const was = await active();
    const bomb = new Uint8Array(gzipSync(Buffer.alloc(50 << 20, '\n')));
    for (const [body, headers, code] of [
      [asCsv(), { 'content-type': CSV, 'content-encoding': 'gzip' }, 'ESP_UPLOAD_INVALID'],
      [asCsv(), { 'content-type': 'application/vnd.apache.parquet' }, 'ESP_UPLOAD_INVALID'],
      [asCsv(), { 'content-type': 'application/vnd.apache.arrow.file' }, 'ESP_UPLOAD_INVALID'],
      [asCsv(), { 'content-type': 'application/x-ndjson' }, 'ESP_UPLOAD_INVALID'],
      [asCsv().replace('countries', 'colour'), { 'content-type': CSV }, 'ESP_UPLOAD_INVALID'],
      [bomb, { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' }, 'ESP_BODY_TOO_LARGE'],
    ] as [string | Uint8Array<ArrayBuffer>, Record<string, string>, string][]) {
      const { state, error } = await build(body, headers);
      expect([state, error.code]).toEqual(['failed', code]);
      expect(JSON.stringify(error)).not.toContain(dataDir);
    }
    expect(await active()).toEqual(was);
    expect(await ask()).toEqual(before);
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
  });

  it('that end in the middle of the body change nothing, and leave no file', async () => {
    const versions = async () => (await send(server, 'GET', '/v1/catalogs/retail/versions')).body;
    const jobs = async () => (await send(server, 'GET', '/v1/jobs')).body;
    const was = [await versions(), await jobs()];
    const body = items.map((item) => JSON.stringify(item)).join('\n');
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    const head = [
      'POST /v1/catalogs/retail/versions?activate=true HTTP/1.1',
      'host: 127.0.0.1',
      'content-type: application/x-ndjson',
      `content-length: ${Buffer.byteLength(body)}`,
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, body.length / 2)}`);
    const received = () => {
      const files = readdirSync(join(dataDir, 'uploads'));
      return files.map((name) => statSync(join(dataDir, 'uploads', name)).size);
    };
    await expect.poll(received, { timeout: 10_000 }).toEqual([expect.toSatisfy((size: number) => size > 0)]);
    socket.destroy();
    await expect.poll(received, { timeout: 10_000 }).toEqual([]);
    expect([await versions(), await jobs()]).toEqual(was);
    expect(await ask()).toEqual(before);
  });

  it('are listed as jobs, the newest first, by state', async () => {
    const list = async (query: string) => {
      const { status, body } = await send(server, 'GET', `/v1/jobs${query}`);
      expect(status).toBe(200);
      return body.jobs as { id: string; state: string; createdAt: string }[];
    };
    const all = await list('');
    expect(all.map(({ createdAt }) => createdAt)).toEqual(
      all
        .map(({ createdAt }) => createdAt)
        .sort()
        .reverse(),
    );
    expect(new Set(all.map(({ state }) => state))).toEqual(new Set(['succeeded', 'failed']));
    expect(await list('?state=failed')).toEqual(all.filter(({ state }) => state === 'failed'));
    expect(await list('?state=running')).toEqual([]);
    expect(await list('?limit=2')).toEqual(all.slice(0, 2));
    for (const query of ['?state=done', '?limit=0', '?limit=10000', '?limit=x', '?since=1']) {
      const { status, body } = await send(server, 'GET', `/v1/jobs${query}`);
      expect([query, status, body.error.code]).toEqual([query, 400, 'ESP_REQUEST_INVALID']);
    }
  });

  it('in an encoding or charset that is not read are refused at once', async () => {
    for (const headers of [
      { 'content-type': CSV, 'content-encoding': 'br' },
      { 'content-type': 'text/csv; charset=latin1' },
    ]) {
      const { status, body } = await post('id,sid\n', headers);
      expect([status, body.error.code]).toEqual([415, 'ESP_MEDIA_TYPE']);
    }
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);
  });
});
