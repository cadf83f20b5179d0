import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog } from '../helpers/small-server.js';

/** What no ordinary client sends, byte for byte. */

let server: ServerProcess;
beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

/** Sends bytes as they are. @returns status and error code */
async function raw(...parts: (string | Buffer)[]): Promise<[number, string | undefined]> {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
  // The server may close while there is more to send.
  socket.on('error', () => {});
  socket.write(
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))),
  );
  let text = '';
  for await (const chunk of socket) text += chunk;
  const [, status] = /^HTTP\/1\.1 (\d+)/.exec(text)!;
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  return [Number(status), /^\{/.test(body) ? JSON.parse(body).error?.code : undefined];
}

const head = (line: string, ...headers: string[]) =>
  `${[`${line} HTTP/1.1`, 'host: 127.0.0.1', 'connection: close', ...headers].join('\r\n')}\r\n\r\n`;
const post = (body: Buffer | string) => {
  const bytes = Buffer.from(body);
  const headers = ['content-type: application/json', `content-length: ${bytes.length}`];
  return raw(head('POST /v1/recommend', ...headers), bytes);
};

describe('the head of a request', () => {
  it.each([
    ['a long URL', () => raw(head(`GET /v1/jobs/${'x'.repeat(20_000)}`))],
    ['a long header', () => raw(head('GET /healthz', `x-a: ${'x'.repeat(20_000)}`))],
    ['many headers', () => raw(head('GET /healthz', ...Array.from({ length: 20_000 }, () => 'a: 1')))],
  ])('is refused with %s', async (_, sent) => {
    expect(await sent()).toEqual([431, 'ESP_HEADERS_TOO_LARGE']);
  });

  it('is read to its end', async () => {
    // 2,500 headers before the one that counts.
    const many = Array.from({ length: 2_500 }, () => 'a:');
    const reply = raw(head('DELETE /v1/catalogs/small', ...many, 'if-match: "other"'));
    expect(await reply).toEqual([412, 'ESP_PRECONDITION_FAILED']);
  });

  it.each([
    ['a path that is not UTF-8', 'GET /v1/catalogs/%FF', [], 400],
    ['a path with half an escape', 'GET /v1/catalogs/%E', [], 400],
    ['a query that is not UTF-8', 'GET /v1/jobs?limit=%FF', [], 400],
    ['an actor that is not ASCII', 'DELETE /v1/catalogs/small', ['x-actor: \xff\xfe'], 400],
    [
      'an idempotency key that is not ASCII',
      'POST /v1/catalogs/small/versions',
      ['idempotency-key: \xe4'],
      400,
    ],
  ] as [string, string, string[], number][])('is refused with %s', async (_, line, headers, status) => {
    const sent = line.startsWith('POST') ? [...headers, 'content-type: application/x-ndjson'] : headers;
    expect(await raw(head(line, ...sent, ...(line.startsWith('GET') ? [] : ['content-length: 0'])))).toEqual([
      status,
      'ESP_REQUEST_INVALID',
    ]);
  });
});

describe('the body of a request', () => {
  const withId = (id: string | Buffer) =>
    Buffer.concat([Buffer.from('{"catalog":"small","history":["'), Buffer.from(id), Buffer.from('"]}')]);

  it.each([
    ['bytes that are not UTF-8', withId(Buffer.from([0xff]))],
    ['a character cut off', withId(Buffer.from([0xe2, 0x82]))],
    ['an overlong form', withId(Buffer.from([0xc0, 0xaf]))],
    ['half of a surrogate pair', withId('\\ud83d')],
    ['its other half', withId('\\uDE00')],
    ['halves the wrong way round', withId('\\ude00\\ud83d')],
    ['half of one behind a backslash', withId('\\\\\\ud83d')],
    ['a name with half of one', '{"catalog":"small","history":[],"\\ud83d":1}'],
    ['a megabyte of brackets', '['.repeat(1_000_000)],
  ])('is refused with %s', async (_, body) => {
    expect(await post(body)).toEqual([400, 'ESP_BODY_MALFORMED']);
  });

  it.each([
    ['lists', `${'['.repeat(500_000)}${']'.repeat(500_000)}`],
    ['objects', `${'{"a":'.repeat(150_000)}1${'}'.repeat(150_000)}`],
    [
      'objects where anything may be',
      `{"catalog":"small","history":[],"constraint":{"filter":"true","params":{"a":${'['.repeat(400_000)}${']'.repeat(400_000)}}}}`,
    ],
  ])('is refused with deep %s', async (_, body) => {
    expect(await post(body)).toEqual([400, 'ESP_REQUEST_INVALID']);
  });

  it.each([
    ['a whole pair', withId('\\ud83d\\ude00')],
    ['what looks like half of one', withId('\\\\ud83d')],
    ['a byte-order mark', '\ufeff{"catalog":"small","history":[]}'],
    ['other escapes', withId('\\u00e4\\n\\"')],
    ['characters of any length', withId('ä€😀')],
  ])('may have %s', async (_, body) => {
    expect(await post(body)).toEqual([200, undefined]);
  });
});
