import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { fastify } from 'fastify';
import { expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { readAcross } from '../../src/server/bulk/download.js';
import { sendRange } from '../../src/server/http/send-range.js';
import { seeded } from '../helpers/seed.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-range-'));
const ETAG = '"a"';

/** A server of files that follow one another, and all of their bytes. */
function serve(sizes: readonly number[]) {
  const bytes = Buffer.from(Array.from({ length: sizes.reduce((sum, size) => sum + size, 0) }, (_, i) => i));
  let at = 0;
  const paths = sizes.map((size, index) => {
    const path = join(folder, String(index));
    writeFileSync(path, bytes.subarray(at, at + size));
    at += size;
    return path;
  });
  const app = fastify();
  app.setErrorHandler((thrown, _request, reply) => {
    const { statusCode, code } = thrown as EspalierError;
    reply.code(statusCode).send({ code });
  });
  app.get('/', (request, reply) =>
    sendRange(request, reply, {
      bytes: bytes.length,
      etag: ETAG,
      read: (start, end) => readAcross(paths, start, end),
    }),
  );
  const get = (headers: Record<string, string>) => app.inject({ url: '/', headers });
  return { bytes, get };
}

it('answers any part of files that follow one another', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 6 });
  const place = fc.integer({ min: 0, max: 260 });
  await fc.assert(
    fc.asyncProperty(sizes, place, place, async (files, from, to) => {
      const { bytes, get } = serve(files);
      const whole = await get({});
      expect([whole.statusCode, whole.rawPayload]).toEqual([200, bytes]);
      const part = await get({ range: `bytes=${from}-${to}`, 'if-range': ETAG });
      if (from > to || from >= bytes.length) {
        // Backwards it says nothing, beyond the end it asks for what is not there.
        expect(part.statusCode).toBe(416);
        expect(part.headers['content-range']).toBe(`bytes */${bytes.length}`);
        return;
      }
      const end = Math.min(to + 1, bytes.length);
      expect([part.statusCode, part.rawPayload]).toEqual([206, bytes.subarray(from, end)]);
      expect(part.headers).toMatchObject({
        'content-range': `bytes ${from}-${end - 1}/${bytes.length}`,
        'content-length': String(end - from),
        etag: ETAG,
      });
    }),
    seeded('parts of a download', 150),
  );
});

it.each([
  ['another unit', { range: 'lines=1-2' }],
  ['what is no range', { range: 'bytes' }],
  ['several parts', { range: 'bytes=0-1,4-5' }],
  ['a part of something else', { range: 'bytes=0-1', 'if-range': '"b"' }],
])('answers with the whole to %s', async (_what, headers) => {
  const { bytes, get } = serve([5, 7]);
  const answer = await get(headers);
  expect([answer.statusCode, answer.rawPayload]).toEqual([200, bytes]);
});

it('answers with the last bytes', async () => {
  const { bytes, get } = serve([5, 7]);
  const answer = await get({ range: 'bytes=-9' });
  expect([answer.statusCode, answer.rawPayload]).toEqual([206, bytes.subarray(3)]);
});

it('says that a part is not there with a code of ours', async () => {
  const answer = await serve([3]).get({ range: 'bytes=3-' });
  expect(answer.json()).toEqual({ code: 'ESP_RANGE' });
  expect(new EspalierError('ESP_RANGE', '').statusCode).toBe(416);
});
