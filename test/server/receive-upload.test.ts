import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import multipart from '@fastify/multipart';
import fc from 'fast-check';
import Fastify from 'fastify';
import { beforeEach, describe, expect, it } from 'vitest';
import type { EspalierError } from '../../src/errors.js';
import { BoundaryCounter } from '../../src/server/http/boundary-counter.js';
import { receiveUpload } from '../../src/server/http/receive-upload.js';
import { formOptions } from '../../src/server/http/upload-parts.js';
import { seeded } from '../helpers/seed.js';

const limits = { uploadLimitBytes: 10_000, uploadIdleTimeoutMs: 10_000 };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-receive-'));
});

async function receive(payload: string, contentType: string) {
  const app = Fastify();
  app.addContentTypeParser('text/csv', (_request, body, done) => done(null, body));
  await app.register(multipart, formOptions);
  let count = 0;
  app.post('/', (request) => receiveUpload(request, () => join(folder, `${count++}`), limits));
  app.setErrorHandler((error: EspalierError, _request, reply) => reply.send({ code: error.code }));
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
      expect(await receive(body, type)).toEqual({ code: 'ESP_WRITE_FAILED' });
    }
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
