import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

let server: ServerProcess;
beforeAll(async () => {
  server = await startTestServer(makeDataDir(), ['--decode-queue-limit', '10', '--decode-engines', '1']);
  await makeSmallCatalog(server);
  await makeSmallCatalog(server, 'masked', 'masked');
  await putRule(server, 'red', 'colour == "red"');
});
afterAll(() => server.stop());

const good = { catalog: 'small', history: ['0-0'], k: 3, beamWidth: 3 };
const batch = (requests: unknown) => send(server, 'POST', '/v1/recommend/batch', { requests });

/** Each with another fault, from the schema's to the engine's. */
const bad: unknown[] = [
  { catalog: 'small', history: [], k: '3' },
  { catalog: 'small', history: [], constrain: {} },
  { catalog: 'small', history: [], constraint: { set: 7 } },
  { catalog: 'small', history: [], beamWidth: [0] },
  { catalog: 'small', history: [], explain: 3 },
  { history: [] },
  { catalog: 'small' },
  { catalog: 'small', history: [], k: 4, beamWidth: 3 },
  { catalog: 'nowhere', history: [] },
  { catalog: 'small', history: [], constraint: { set: 'nothing' } },
  { catalog: 'small', history: [], constraint: { filter: 'price <' } },
];

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)![1]);
}

describe('a batch', () => {
  it('answers each request as it would alone, in their order, and decodes them together', async () => {
    const requests = [good, { ...good, constraint: { set: 'red' } }, { ...good, k: 1 }];
    const before = await metric('espalier_decode_batch_requests_count');
    const answers = await metric('espalier_recommend_total_seconds_count');
    const { status, body } = await batch(requests);
    expect(status).toBe(200);
    expect((await metric('espalier_decode_batch_requests_count')) - before).toBe(1);
    expect((await metric('espalier_recommend_total_seconds_count')) - answers).toBe(3);
    for (const [index, request] of requests.entries()) {
      const { timings, ...alone } = (await send(server, 'POST', '/v1/recommend', request)).body;
      expect(body.responses[index]).toEqual({ ...alone, timings: expect.anything() });
    }
  });

  it('fails each request alone, with the same error as that request by itself', async () => {
    for (const request of bad) {
      const { responses } = (await batch([good, request, good])).body;
      const alone = await send(server, 'POST', '/v1/recommend', request);
      expect(responses[1].error.code).toMatch(/^ESP_/);
      expect(responses[1]).toEqual(alone.body);
      for (const index of [0, 2]) expect(responses[index].items).toHaveLength(3);
    }
    const { responses } = (await batch([null, 7, [], 'x'])).body;
    expect(responses.map(({ error }: { error: object }) => error)).toEqual(
      ['null', '7', '[]', '"x"'].map((found) => ({
        code: 'ESP_REQUEST_INVALID',
        message: `body: expected object, found ${found}`,
        details: [{ field: 'body', expected: 'object', found }],
      })),
    );
  });

  it('answers scores too low for a float32 with the lowest there is, beside the others', async () => {
    const masked = { catalog: 'masked', history: [], k: 6 };
    const alone = await send(server, 'POST', '/v1/recommend', masked);
    expect(alone.body.items.at(-1)).toEqual({ id: '1-2', score: -3.4028234663852886e38, sid: [1, 2] });
    const { status, body } = await batch([good, masked, good]);
    expect(status).toBe(200);
    expect(body.responses.map(({ items }: { items: unknown[] }) => items.length)).toEqual([3, 6, 3]);
    expect(body.responses[1].items).toEqual(alone.body.items);
  });

  it('that is not an envelope is refused as a whole', async () => {
    const cases: [unknown, string][] = [
      [[], 'requests'],
      [{}, 'requests'],
      [Array.from({ length: 65 }, () => good), 'requests'],
    ];
    for (const [requests, field] of cases) {
      const body = Array.isArray(requests) ? { requests } : requests;
      const answer = await send(server, 'POST', '/v1/recommend/batch', body);
      expect([answer.status, answer.body.error.code]).toEqual([400, 'ESP_REQUEST_INVALID']);
      expect(answer.body.error.details[0].field).toBe(field);
    }
    const unknown = await send(server, 'POST', '/v1/recommend/batch', { requests: [good], catalog: 'small' });
    expect(unknown.body.error.details[0]).toMatchObject({
      field: 'catalog',
      expected: 'no field of this name',
    });
  });

  it('that is larger than the queue has room for is answered as far as there is', async () => {
    const { body } = await batch(Array.from({ length: 64 }, () => good));
    const codes = body.responses.map((one: { error?: { code: string } }) => one.error?.code);
    expect(codes.slice(0, 10)).toEqual(Array.from({ length: 10 }));
    expect(codes.slice(10)).toEqual(Array.from({ length: 54 }, () => 'ESP_OVERLOADED'));
  });
});
