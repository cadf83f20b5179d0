import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import multipart from '@fastify/multipart';
import fc from 'fast-check';
import Fastify from 'fastify';
import { beforeEach, describe, expect, it } from 'vitest';
import type { EspalierError } from '../../src/errors.js';
import { BoundaryCounter } from '../../src/server/http/boundary-counter.js';
import { receiveUpload, type UploadLimits } from '../../src/server/http/receive-upload.js';
import { formOptions } from '../../src/server/http/upload-parts.js';
import { seeded } from '../helpers/seed.js';

const limits = { uploadLimitBytes: 10_000, uploadIdleTimeoutMs: 10_000, uploadMinBytesPerSecond: 1_000 };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-receive-'));
});

async function receive(payload: string | Readable, contentType: string, more: Partial<UploadLimits> = {}) {
  const app = Fastify();
  app.addContentTypeParser('text/csv', (_request, body, done) => done(null, body));
  await app.register(multipart, formOptions);
  let count = 0;
  app.post('/', (request) =>
    receiveUpload(request, () => join(folder, `${count++}`), { ...limits, ...more }),
  );
  app.setErrorHandler((error: EspalierError, _request, reply) =>
    reply.send({ code: error.code, message: error.message }),
  );
  const reply = await app.inject({
    method: 'POST',
    url: '/',
    payload,
    headers: { 'content-type': contentType },
  });
  await app.close();
  return reply.json();
}

const part = (name: string, text: string) =>
  `--b\r\ncontent-disposition: form-data; name="f"; filename="${name}"\r\n\r\n${text}\r\n`;
const form = `${part('one.csv', 'id\r\n')}${part('dir/two.NDJSON.gz', 'x--b')}--b--`;
const FORM = 'multipart/form-data; boundary=b';

describe('receiving an upload', () => {
  it('writes each file to a place of its own', async () => {
    expect(await receive(form, FORM)).toEqual([
      { path: join(folder, '0'), format: 'csv', isGzip: false, name: 'one.csv' },
      { path: join(folder, '1'), format: 'ndjson', isGzip: true, name: 'two.NDJSON.gz' },
    ]);
    expect(['0', '1'].map((name) => readFileSync(join(folder, name), 'utf8'))).toEqual(['id\r\n', 'x--b']);
    rmSync(join(folder, '1'));
    expect(await receive('id\n', 'text/csv')).toEqual([
      { path: join(folder, '0'), format: 'csv', isGzip: false },
    ]);
    expect(readdirSync(folder)).toEqual(['0']);
  });

  it('says that it cannot write', async () => {
    rmSync(folder, { recursive: true });
    for (const [body, type] of [
      [form, FORM],
      ['id\n', 'text/csv'],
    ]) {
      expect(await receive(body, type)).toMatchObject({ code: 'ESP_WRITE_FAILED' });
    }
  });
});

describe('an upload that comes in drops', () => {
  const WINDOW_MS = 200;
  const PAUSE_MS = 20;
  const rate = { uploadIdleTimeoutMs: WINDOW_MS, uploadMinBytesPerSecond: 1_000 };

  /** Three windows long, with never more than a tenth of one in silence. */
  async function* drops(first: string, drop: string, last = '') {
    yield Buffer.from(first);
    for (let drops = 0; drops < (3 * WINDOW_MS) / PAUSE_MS; drops++) {
      await delay(PAUSE_MS);
      yield Buffer.from(drop);
    }
    yield Buffer.from(last);
  }
  const body = (drop: string) => Readable.from(drops('', drop), { objectMode: false });
  const inForm = (drop: string) =>
    Readable.from(drops(part('a.csv', 'id').slice(0, -2), drop, '\r\n--b--'), { objectMode: false });
  const manyFiles = () => Readable.from(drops('', part('a.csv', ''), '--b--'), { objectMode: false });

  it.each([
    ['a file', () => body('x'), 'text/csv'],
    ['a file of a form', () => inForm('x'), FORM],
  ])('is ended while bytes still come, and leaves nothing: %s', async (_, make, type) => {
    expect(await receive(make(), type, rate)).toEqual({
      code: 'ESP_UPLOAD_STALLED',
      message: expect.stringMatching(/^\d+ bytes came in \d+ ms, fewer than \d+$/),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is ended though each of its files is short', async () => {
    const high = { ...rate, uploadMinBytesPerSecond: 1_000_000 };
    expect(await receive(manyFiles(), FORM, high)).toMatchObject({ code: 'ESP_UPLOAD_STALLED' });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is received where it is fast enough, or may be as slow as it likes', async () => {
    // Twice what it needs, whatever the clock of a busy machine makes of the pauses.
    const enough = 'x'.repeat(200);
    const large = { ...rate, uploadLimitBytes: 100_000 };
    expect(await receive(body(enough), 'text/csv', large)).toHaveLength(1);
    expect(await receive(inForm(enough), FORM, large)).toHaveLength(1);
    expect(await receive(body('x'), 'text/csv', { ...rate, uploadMinBytesPerSecond: 0 })).toHaveLength(1);
  });
});

it('counts the parts of a form however its bytes are cut', () => {
  const boundaries = fc.constantFrom('b', '--', 'a-long-boundary');
  fc.assert(
    fc.property(
      boundaries,
      fc.array(fc.constantFrom('', '\r\n', '--b', 'x\r\n-', '\n--')),
      fc.nat(40),
      (boundary, texts, size) => {
        const lines = [
          ...texts.map((text) => `--${boundary}\r\n\r\n${text.replaceAll(`--${boundary}`, '')}`),
          `--${boundary}--`,
        ];
        const bytes = Buffer.from(lines.join('\r\n'));
        const counter = new BoundaryCounter(`multipart/form-data; charset=x; Boundary="${boundary}"; y`);
        for (let at = 0; at < bytes.length; at += size + 1) counter.take(bytes.subarray(at, at + size + 1));
        expect(counter.partCount).toBe(texts.length);
      },
    ),
    seeded('forms in pieces', 1000),
  );
});
