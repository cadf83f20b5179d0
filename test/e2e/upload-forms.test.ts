import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, type Reply, send, startTestServer } from '../helpers/server.js';

const VERSIONS = '/v1/catalogs/small/versions?activate=true';
const LIMIT_BYTES = 100_000;
const BOUNDARY = 'a-boundary';

const dataDir = makeDataDir();
let server: ServerProcess;

beforeAll(async () => {
  const limits = ['--upload-limit-bytes', `${LIMIT_BYTES}`, '--upload-idle-timeout-ms', '2000'];
  server = await startTestServer(dataDir, limits);
  const definition = {
    model: 'learned-logits',
    sid: { codebookSizes: [4, 5, 3] },
    attributes: { price: { type: 'double' } },
  };
  const { status, body } = await send(server, 'PUT', '/v1/catalogs/small', definition);
  expect([status, body]).toMatchObject([201, {}]);
});

interface Part {
  name?: string;
  type?: string;
  content: string | Buffer;
  disposition?: string;
}

const part = (name: string, content: string | Buffer, type?: string): Part => ({
  name,
  content,
  ...(type !== undefined && { type }),
});

/** A form as the bytes that a client sends: browsers' FormData can't leave things out. */
function form(parts: readonly Part[], end = `--${BOUNDARY}--\r\n`): Buffer<ArrayBuffer> {
  const bytes = parts.flatMap(({ name, type, content, disposition }) => [
    `--${BOUNDARY}\r\n`,
    disposition ?? `content-disposition: form-data; name="file"; filename="${name}"\r\n`,
    type === undefined ? '' : `content-type: ${type}\r\n`,
    '\r\n',
    content,
    '\r\n',
  ]);
  return Buffer.concat([...bytes, end].map((piece) => Buffer.from(piece)));
}

async function post(body: Buffer<ArrayBuffer>, headers: Record<string, string> = {}): Promise<Reply> {
  const response = await fetch(`${server.url}${VERSIONS}`, {
    method: 'POST',
    headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}`, ...headers },
    body,
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

async function build(parts: readonly Part[]): Promise<Reply['body']> {
  const { status, body } = await post(form(parts));
  expect([status, body.error]).toEqual([202, undefined]);
  for (;;) {
    const { job } = (await send(server, 'GET', `/v1/jobs/${body.job.id}`)).body;
    if (job.state !== 'queued' && job.state !== 'running') return job;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const activeVersion = async () => (await send(server, 'GET', '/v1/catalogs/small')).body.activeVersion;
const received = () => readdirSync(join(dataDir, 'uploads'));

const NDJSON = 'application/x-ndjson';
const ndjson = part('a.ndjson', '{"id":"a","sid":[0,1,0],"price":2}\n{"id":"b","sid":[0,2,1]}\n', NDJSON);
const csv = part('b.csv', 'id,sid,price\nc,1-1-2,2.5\nd,1-1-2,\n', 'text/csv');
const packed = part('c.csv.gz', gzipSync('id,sid\ne,2-2-2\n'));

describe('an upload of several files', () => {
  it('is one version, each file in its own format, packed or not', async () => {
    const job = await build([ndjson, csv, packed]);
    expect([job.state, job.result.items, job.result.leaves]).toEqual(['succeeded', 5, 4]);
    expect(received()).toEqual([]);
  });

  it('goes by the names of files whose content type says nothing', async () => {
    const job = await build([
      part('A.NDJSON', ndjson.content, 'application/octet-stream'),
      part('b.csv', csv.content, 'text/plain'),
      part('c.csv.GZ', packed.content, 'application/gzip'),
    ]);
    expect([job.state, job.result.items]).toEqual(['succeeded', 5]);
  });

  it('fails on an id that two files have, naming both places', async () => {
    const before = await activeVersion();
    const job = await build([ndjson, csv, part('d.ndjson', '\n{"id":"c","sid":[3,3,0]}\n', NDJSON)]);
    expect(job).toMatchObject({ state: 'failed', error: { code: 'ESP_UPLOAD_INVALID' } });
    expect(job.error.details).toEqual([
      {
        file: 'd.ndjson',
        line: 2,
        field: 'id',
        expected: 'an id that no other item has',
        found: '"c", as on line 2 of b.csv',
      },
    ]);
    expect(await activeVersion()).toBe(before);
  });

  it('fails where one of three files is bad, and names what is wrong with the others, too', async () => {
    const before = await activeVersion();
    const last = part('e.ndjson', '{"id":"z","sid":[9,9,0]}', NDJSON);
    const job = await build([ndjson, part('broken.parquet', 'PAR1', 'application/vnd.apache.parquet'), last]);
    expect([job.state, job.error.code]).toEqual(['failed', 'ESP_UPLOAD_INVALID']);
    expect(job.error.message).toMatch(/^2 bad lines; first: broken\.parquet: expected Parquet, found /);
    expect(job.error.details).toMatchObject([
      { file: 'broken.parquet', expected: 'Parquet' },
      { file: 'e.ndjson', line: 1, field: 'sid[0]' },
      { file: 'e.ndjson', line: 1, field: 'sid[1]' },
    ]);
    expect(await activeVersion()).toBe(before);
    expect(received()).toEqual([]);
  });

  it('fails where its files together unpack to too much', async () => {
    const half = part('half.ndjson.gz', gzipSync(Buffer.alloc(LIMIT_BYTES * 0.6, '\n')), NDJSON);
    const bomb = part('bomb.ndjson.gz', gzipSync(Buffer.alloc(50 << 20, '\n')), NDJSON);
    expect((await build([ndjson, half])).state).toBe('succeeded');
    for (const parts of [
      [ndjson, bomb, csv],
      [ndjson, half, half],
    ]) {
      expect(await build(parts)).toMatchObject({ state: 'failed', error: { code: 'ESP_BODY_TOO_LARGE' } });
    }
    expect(received()).toEqual([]);
  });
});

describe('a form that is no upload', () => {
  const many = Array.from({ length: 1_001 }, (_, index) => part(`${index}.csv`, ''));
  const tooLarge = part('a.csv', Buffer.alloc(LIMIT_BYTES * 0.6, 'x'));
  const field: Part = { disposition: 'content-disposition: form-data; name="activate"\r\n', content: 'true' };
  const nameless: Part = {
    disposition: 'x-nothing: at all\r\n',
    content: 'id,sid\nlost,1-1-2\n',
    type: 'text/csv',
  };
  it.each<[string, Buffer<ArrayBuffer>, number, string, string]>([
    ['no parts', form([]), 400, 'ESP_REQUEST_INVALID', 'body'],
    ['nothing at all', Buffer.alloc(0), 400, 'ESP_REQUEST_INVALID', 'body'],
    ['a field', form([ndjson, field]), 400, 'ESP_REQUEST_INVALID', 'activate'],
    ['an unknown type', form([ndjson, part('x.csv', '', 'image/png'), csv]), 415, 'ESP_MEDIA_TYPE', 'x.csv'],
    ['an unknown ending', form([part('x.tsv', '')]), 415, 'ESP_MEDIA_TYPE', 'x.tsv'],
    ['no ending', form([part('csv', '')]), 415, 'ESP_MEDIA_TYPE', 'csv'],
    ['no end', form([ndjson, csv], ''), 400, 'ESP_REQUEST_INVALID', 'body'],
    ['a part without a name', form([ndjson, nameless]), 400, 'ESP_REQUEST_INVALID', 'body'],
    ['another boundary', form([ndjson], '--another--'), 400, 'ESP_REQUEST_INVALID', 'body'],
  ])('is refused: %s', async (_, body, status, code, where) => {
    const reply = await post(body);
    expect([reply.status, reply.body.error.code]).toEqual([status, code]);
    expect(reply.body.error.details[0].field).toBe(where);
    expect(received()).toEqual([]);
  });

  it('is refused: too many files, or too much in them', async () => {
    for (const parts of [many, [tooLarge, tooLarge]]) {
      const reply = await post(form(parts));
      expect([reply.status, reply.body.error.code]).toEqual([413, 'ESP_BODY_TOO_LARGE']);
      expect(received()).toEqual([]);
    }
  });

  it('is refused where it is packed as a whole, or has no boundary', async () => {
    const body = form([ndjson]);
    const asWhole = await post(new Uint8Array(gzipSync(body)) as Buffer<ArrayBuffer>, {
      'content-encoding': 'gzip',
    });
    expect([asWhole.status, asWhole.body.error.code]).toEqual([415, 'ESP_MEDIA_TYPE']);
    const unbound = await post(body, { 'content-type': 'multipart/form-data' });
    expect([unbound.status, unbound.body.error.code]).toEqual([400, 'ESP_REQUEST_INVALID']);
  });
});

describe('a form that ends in the middle', () => {
  const half = form([ndjson, { ...csv, content: 'id,sid\nc,1-' }], '').subarray(0, -2);
  const head = (length: number) =>
    `POST ${VERSIONS} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=${BOUNDARY}\r\ncontent-length: ${length}\r\n\r\n`;
  const open = () => connect(Number(new URL(server.url).port), '127.0.0.1');

  async function untilReceived(count: number): Promise<void> {
    for (let tries = 0; received().length !== count; tries++) {
      expect(tries, `${received().length} files`).toBeLessThan(500);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  it('leaves nothing when its socket closes', async () => {
    const jobs = (await send(server, 'GET', '/v1/jobs')).body.jobs.length;
    const socket = open();
    socket.write(Buffer.concat([Buffer.from(head(half.length + 100)), half]));
    await untilReceived(2);
    socket.destroy();
    await untilReceived(0);
    expect((await send(server, 'GET', '/v1/jobs')).body.jobs.length).toBe(jobs);
  });

  it.each([
    ['in a file', half],
    ['between two files', form([ndjson], '').subarray(0, -2)],
    ['before the first file', Buffer.from('--')],
  ])('is given up when nothing more comes: %s', async (_, bytes) => {
    const socket = open();
    socket.write(Buffer.concat([Buffer.from(head(bytes.length + 100)), bytes]));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    await once(socket, 'close');
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('ESP_UPLOAD_STALLED');
    expect(received()).toEqual([]);
  });
});
