import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail, readShoppers } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, send, startTestServer, upload } from '../helpers/server.js';

const models = ['failing', 'slow'] as const;
const items = [0, 1].flatMap((a) => [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b] })));
/** A history of two items: what these models fail on, or take seconds over. */
const BAD = ['0-0', '1-1'];

async function loadSmall(server: ServerProcess): Promise<void> {
  for (const model of models) {
    const definition = { model, sid: { codebookSizes: [2, 3] }, attributes: {} };
    expect((await send(server, 'PUT', `/v1/catalogs/${model}`, definition)).status).toBe(201);
    expect((await upload(server, model, items)).state).toBe('succeeded');
  }
}

async function metric(server: ServerProcess, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)![1]);
}

describe.each([
  ['one engine on a thread', []],
  ['two engines in processes', ['--decode-isolation', 'process', '--decode-engines', '2']],
])('with %s', (_, options) => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await startTestServer(makeDataDir(), options);
    await loadRetail(server.url);
    await loadSmall(server);
  });
  afterAll(() => server.stop());

  it('requests that come together are answered as each alone', async () => {
    const shoppers = (await readShoppers()).filter(({ user }) => user % 300 === 0).slice(0, 16);
    const bodies = shoppers.map(({ history }, index) => ({
      catalog: 'retail',
      history,
      k: 1 + (index % 5),
      beamWidth: [5, 20, 50][index % 3],
      constraint: [{}, { set: 'christmas' }, { filter: 'price < 2.0' }][(index >> 1) % 3],
      excludeHistory: index % 2 === 0,
    }));
    const ask = async (body: object) => (await send(server, 'POST', '/v1/recommend', body)).body;
    const together = await Promise.all(bodies.map(ask));
    for (const [index, body] of bodies.entries()) {
      const alone = await ask(body);
      const ids = (answer: { items: { id: string }[] }) => answer.items.map(({ id }) => id);
      expect(ids(together[index])).toEqual(ids(alone));
      together[index].items.forEach(({ score }: { score: number }, rank: number) => {
        expect(score).toBeCloseTo(alone.items[rank].score, 4);
      });
    }
  });

  it('requests to a small model, which gain from it, decode together', async () => {
    const body = { catalog: 'failing', history: [], k: 1, beamWidth: 2 };
    const before = await metric(server, 'espalier_decode_batch_requests_count');
    await Promise.all(Array.from({ length: 32 }, () => send(server, 'POST', '/v1/recommend', body)));
    const batches = (await metric(server, 'espalier_decode_batch_requests_count')) - before;
    expect(batches).toBeLessThan(32);
    expect(batches).toBeGreaterThan(0);
  });

  it('an engine that fails answers 503 to its batch, and is replaced', async () => {
    const before = await metric(server, 'espalier_decode_engine_failures_total');
    const bad = await send(server, 'POST', '/v1/recommend', { catalog: 'failing', history: BAD });
    expect([bad.status, bad.body.error.code]).toEqual([503, 'ESP_ENGINE_FAILED']);
    expect(bad.headers.get('retry-after')).toBe('1');
    // Nothing of what ONNX Runtime said.
    expect(JSON.stringify(bad.body)).not.toMatch(/Gather|onnx|\//);
    const good = await send(server, 'POST', '/v1/recommend', { catalog: 'failing', history: ['0-0'], k: 3 });
    expect([good.status, good.body.items.length]).toEqual([200, 3]);
    expect(await metric(server, 'espalier_decode_engine_failures_total')).toBe(before + 1);
    expect((await send(server, 'GET', '/readyz')).status).toBe(200);
  });

  it('a client that goes away takes its request along', async () => {
    const controller = new AbortController();
    const askSlow = () =>
      fetch(`${server.url}/v1/recommend`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ catalog: 'slow', history: BAD }),
        signal: controller.signal,
      });
    // As many as there are engines are decoded; the others wait.
    const asked = Array.from({ length: 6 }, () => askSlow().catch(({ name }) => name));
    while ((await metric(server, 'espalier_decode_queue_length')) < 6);
    controller.abort();
    expect(await Promise.all(asked)).toEqual(new Array(6).fill('AbortError'));
    while ((await metric(server, 'espalier_decode_queue_length')) > 2);
    const { body } = await send(server, 'POST', '/v1/recommend', { catalog: 'slow', history: [], k: 2 });
    expect(body.items).toHaveLength(2);
    // The other engine may still be within the step in which its request was cancelled.
    while ((await metric(server, 'espalier_decode_queue_length')) > 0);
  });
});

describe('the configuration of batches', () => {
  it('may keep every request alone', async () => {
    const server = await startTestServer(makeDataDir(), [
      '--max-batch-rows',
      '1',
      '--max-batch-wait-ms',
      '0',
    ]);
    await loadRetail(server.url);
    const body = { catalog: 'retail', history: ['85123A'], k: 1, beamWidth: 2 };
    await Promise.all(Array.from({ length: 8 }, () => send(server, 'POST', '/v1/recommend', body)));
    expect(await metric(server, 'espalier_decode_batch_requests_count')).toBe(8);
    // One history, read once.
    expect(await metric(server, 'espalier_prefill_hits_total')).toBe(7);
    await server.stop();
  });

  it('is refused where it makes no sense', async () => {
    for (const [flag, value, expected] of [
      ['--max-batch-rows', '0', 'an integer from 1 to 65536'],
      ['--max-batch-wait-ms', '1001', 'a number from 0 to 1000'],
      ['--decode-isolation', 'container', 'one of thread, process'],
    ]) {
      await expect(startTestServer(makeDataDir(), [flag, value])).rejects.toThrow(expected);
    }
  });
});
