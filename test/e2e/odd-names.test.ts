import { readdirSync } from 'node:fs';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, makeModelsDir, type Reply, send, startTestServer, upload } from '../helpers/server.js';
import { attributes, items, makeSmallCatalog, SETS, sid } from '../helpers/small-server.js';

const dataDir = makeDataDir();
let server: ServerProcess;

beforeAll(async () => {
  server = await startTestServer(dataDir, [], makeModelsDir());
  await makeSmallCatalog(server);
});
afterAll(() => server.stop());

const ODD = [
  '',
  ' ',
  'a b',
  'a/b',
  '..',
  '.hidden',
  '../x',
  '..\\x',
  '-flag',
  'ä',
  '😀',
  'a\0b',
  'a\nb',
  'x'.repeat(200),
];
/** As they come over the wire, where encoding them again would hide them. */
const RAW = ['%2e%2e', '%2E%2E%2fx', '..%2f..%2fx', 'a%00', '%ff', '%', 'a%252fb', '.%2e'];

/** `fetch` would resolve dots before it sends them. */
function raw(method: string, path: string, body?: object): Promise<Pick<Reply, 'status' | 'body'>> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const headers = body && { 'content-type': 'application/json' };
    const sent = request({ hostname, port, path, method, ...(headers && { headers }) }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve({ status: response.statusCode!, body: JSON.parse(String(Buffer.concat(chunks))) });
    });
    sent.once('error', reject).end(body && JSON.stringify(body));
  });
}

const files = () => readdirSync(dataDir, { recursive: true }).map(String).sort();

describe('odd names', () => {
  it('of catalogs, sets and aliases are refused, and make no file anywhere', async () => {
    const before = files();
    for (const name of [...ODD.map(encodeURIComponent), ...RAW]) {
      const catalog = await raw('PUT', `/v1/catalogs/${name}`, { model: 'table', sid, attributes });
      const set = await raw('PUT', `${SETS}/${name}`, { rule: 'price < 2.0' });
      for (const { status, body } of [catalog, set]) {
        const code = body.error?.code;
        expect([name, status, code]).toEqual([
          name,
          expect.toSatisfy(isRefusal),
          expect.stringMatching(/^ESP_/),
        ]);
        expect(code).not.toBe('ESP_INTERNAL');
      }
    }
    for (const alias of ODD) {
      const actions = [{ set: { alias, catalog: 'small', constraintSet: 'none' } }];
      const { status, body } = await send(server, 'POST', '/v1/aliases', { actions });
      expect([alias, status, body.error.code]).toEqual([alias, 400, 'ESP_REQUEST_INVALID']);
    }
    expect(files()).toEqual(before);
  });

  it('of items are ids as any other', async () => {
    const ids = ['a/b', '..', '../../x', 'ä 😀', '%2e', 'a?b#c', '"', 'x'.repeat(256)];
    const odd = ids.map((id) => ({ id, sid: [0, 0], price: 1, colour: 'red' }));
    expect((await upload(server, 'small', [...items, ...odd])).state).toBe('succeeded');
    for (const id of ids) {
      const encoded = encodeURIComponent(id).replaceAll('.', '%2E');
      const { status, body } = await raw('GET', `/v1/catalogs/small/items/${encoded}`);
      expect([id, status, body.id]).toEqual([id, 200, id]);
    }
    const removed = await send(server, 'PATCH', '/v1/catalogs/small/items', { remove: ids });
    expect(removed.body).toMatchObject({ removed: ids.length, unknownItems: [] });
  });
});

function isRefusal(status: number): boolean {
  return status === 400 || status === 404;
}
