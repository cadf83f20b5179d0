import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail, type RetailItem, readItems, readShoppers } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { chooseKernel } from '../../src/kernels/index.js';
import { readGoldenBeams } from '../helpers/retail.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { usedParams } from '../helpers/used-params.js';

const history = ['20725', '85099B', '85123A'];
let server: ServerProcess;
let items: Map<string, RetailItem>;

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await loadRetail(server.url);
  items = new Map((await readItems()).map((item) => [item.id, item]));
});
afterAll(() => server.stop());

async function recommend(fields: Record<string, unknown>) {
  const { status, body } = await send(server, 'POST', '/v1/recommend', {
    catalog: 'retail',
    history,
    ...fields,
  });
  expect(status, JSON.stringify(body)).toBe(200);
  return body as {
    items: { id: string; score: number; sid: number[]; attributes?: Record<string, unknown> }[];
    complete: boolean;
    shortfall?: { code: string; message: string };
    unknownItems: string[];
    versions: Record<string, number>;
    timings: Record<string, number>;
  };
}

const facts = (answer: { items: { id: string }[] }) => answer.items.map(({ id }) => items.get(id)!);

describe('recommending on the retail model', () => {
  it('answers ten ranked items with scores, SIDs, attributes, versions and timings', async () => {
    const answer = await recommend({ attributes: ['title', 'price', 'firstSold', 'countries'] });
    expect(answer.items).toHaveLength(10);
    expect(answer.complete).toBe(true);
    expect(answer.shortfall).toBeUndefined();
    expect(answer.versions).toEqual({ catalog: 1, model: 1 });
    answer.items.forEach(({ id, sid, score, attributes }, rank) => {
      const item = items.get(id)!;
      expect(sid).toEqual(item.sid);
      expect(attributes).toEqual({
        title: item.title,
        price: item.price,
        firstSold: new Date(item.firstSold).toISOString(),
        countries: item.countries,
      });
      if (rank > 0) expect(score).toBeLessThanOrEqual(answer.items[rank - 1].score);
    });
    expect(Object.keys(answer.timings)).toEqual(['queueMs', 'modelMs', 'constraintMs', 'totalMs']);
  });

  it("gives PyTorch's golden beams", async () => {
    const { cases, params } = readGoldenBeams();
    for (const { history, allowed, excludeHistory, items } of cases) {
      const constraint =
        allowed === null ? {} : { filter: allowed.rule, params: usedParams(allowed.rule, params) };
      const answer = await recommend({ history, constraint, excludeHistory });
      expect(answer.items).toHaveLength(items.length);
      answer.items.forEach(({ score }, rank) => {
        expect(Math.abs(score - items[rank].score)).toBeLessThan(2e-4);
      });
    }
  });

  it.each([
    ['germany', ({ countries }: RetailItem) => countries.includes('Germany')],
    ['under-2-pounds', ({ price }: RetailItem) => price < 2],
    ['christmas', ({ title }: RetailItem) => title.includes('CHRISTMAS')],
    ['new-arrivals', ({ firstSold }: RetailItem) => firstSold > '2011-09-11T00:00:00Z'],
    ['in-stock', ({ lastSold }: RetailItem) => lastSold > '2011-11-26T00:00:00Z'],
  ])('keeps to the set %s for real shoppers', async (set, isAllowed) => {
    const shoppers = (await readShoppers()).filter(({ user }) => user % 200 === 0);
    for (const { history } of shoppers) {
      const answer = await recommend({ history, constraint: { set }, excludeHistory: true });
      expect(answer.items).toHaveLength(10);
      expect(answer.versions.constraintSet).toBe(1);
      expect(facts(answer).filter((item) => !isAllowed(item))).toEqual([]);
      expect(answer.items.filter(({ id }) => history.includes(id))).toEqual([]);
    }
  });

  it('intersects set, filter, include and exclude', async () => {
    const free = await recommend({
      constraint: { set: 'christmas', filter: 'price < params.max', params: { max: 1 } },
      k: 50,
    });
    const allowed = [...items.values()].filter(
      ({ title, price }) => title.includes('CHRISTMAS') && price < 1,
    );
    expect(facts(free).every((item) => allowed.includes(item))).toBe(true);
    const [first, second, third] = free.items.map(({ id }) => id);
    const constraint = {
      set: 'christmas',
      filter: 'price < params.max',
      params: { max: 1 },
      include: [first, second, third, '85123A', 'no-such-item'],
      exclude: [second],
    };
    const answer = await recommend({ constraint });
    expect(answer.items.map(({ id }) => id).sort()).toEqual([first, third].sort());
    expect(answer.shortfall?.code).toBe('ESP_SHORTFALL_FEW_ALLOWED');
    expect(answer.unknownItems).toEqual(['no-such-item']);
  });

  it('lists unknown items of the history, and decodes an empty one from bos', async () => {
    const answer = await recommend({ history: ['nothing', '85123A', 'nothing'] });
    expect(answer.unknownItems).toEqual(['nothing']);
    expect(answer.items).toEqual((await recommend({ history: ['85123A'] })).items);
    expect((await recommend({ history: [] })).items).toHaveLength(10);
  });

  it('answers nothing, with a reason, where a rule or an empty include allows nothing', async () => {
    for (const constraint of [{ filter: 'price < 0.0' }, { include: [] }, { include: ['no-such-item'] }]) {
      const answer = await recommend({ constraint });
      expect(answer.items).toEqual([]);
      expect(answer.complete).toBe(false);
      expect(answer.shortfall?.code).toBe('ESP_SHORTFALL_NOTHING_ALLOWED');
    }
  });

  it('normalizes over the level or the live children, and scales by temperature', async () => {
    const constraint = { set: 'christmas' };
    const [vocabulary, level, live, warm] = await Promise.all([
      recommend({ constraint }),
      recommend({ constraint, normalize: 'level' }),
      recommend({ constraint, normalize: 'live' }),
      recommend({ constraint, temperature: 5 }),
    ]);
    // Fewer tokens share the mass, so probabilities grow.
    expect(level.items[0].score).toBeGreaterThan(vocabulary.items[0].score);
    expect(live.items[0].score).toBeGreaterThan(level.items[0].score);
    expect(warm.items[0].score).not.toBeCloseTo(vocabulary.items[0].score, 2);
    // Over live children only, the probabilities of all items of the set sum to 1.
    const all = await recommend({ constraint, normalize: 'live', k: 1024, beamWidth: 1024 });
    const sum = all.items.reduce((total, { score }) => total + Math.exp(score), 0);
    expect(sum).toBeCloseTo(1, 4);
  });

  it('answers other requests while decodes are under way', async () => {
    let isDone = false;
    const decode = recommend({ k: 1024, beamWidth: 1024 }).then(() => {
      isDone = true;
    });
    expect((await send(server, 'GET', '/healthz')).status).toBe(200);
    expect(isDone).toBe(false);
    await decode;
  });

  it('ends a request at its timeout, and later ones are answered', async () => {
    const { status, body } = await send(server, 'POST', '/v1/recommend', {
      catalog: 'retail',
      history,
      k: 1024,
      beamWidth: 1024,
      timeoutMs: 1,
    });
    expect([status, body.error.code]).toEqual([504, 'ESP_TIMEOUT']);
    expect((await recommend({})).items).toHaveLength(10);
  });
});

describe('operations', () => {
  it('says that it lives, is ready and which kernel runs', async () => {
    const { name: kernel, stepName: step } = chooseKernel();
    const cuda = { state: expect.any(String), message: expect.any(String) };
    expect((await send(server, 'GET', '/healthz')).body).toEqual({ status: 'ok', kernel, step, cuda });
    expect(await send(server, 'GET', '/readyz')).toMatchObject({
      status: 200,
      body: { status: 'ready', reasons: [] },
    });
  });

  it('exports metrics, documents itself, and shows the documentation', async () => {
    await recommend({ constraint: { filter: 'price < 0.0' } });
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(
      /espalier_http_request_duration_seconds_count\{method="POST",route="\/v1\/recommend",status="200"\} \d+/,
    );
    expect(metrics).toMatch(
      /espalier_recommend_shortfalls_total\{code="ESP_SHORTFALL_NOTHING_ALLOWED"\} [1-9]/,
    );
    const openapi = (await send(server, 'GET', '/openapi.json')).body;
    expect(openapi.openapi).toBe('3.1.0');
    expect(Object.keys(openapi.paths)).toEqual(
      expect.arrayContaining([
        '/v1/recommend',
        '/v1/catalogs/{catalog}/constraint-sets/{set}',
        '/v1/jobs',
        '/v1/jobs/{id}',
      ]),
    );
    const docs = await fetch(`${server.url}/docs`);
    expect([docs.status, await docs.text()]).toEqual([200, expect.stringContaining('swagger-ui')]);
  });

  it('finishes what is in flight on SIGTERM, and exits with 0', async () => {
    const other = await startTestServer(makeDataDir());
    await loadRetail(other.url);
    const wide = { catalog: 'retail', history, k: 1024, beamWidth: 1024 };
    const answer = send(other, 'POST', '/v1/recommend', wide);
    const isDecoding = async () =>
      (await (await fetch(`${other.url}/metrics`)).text()).includes('espalier_decode_queue_length 1');
    let isAnswered = false;
    void answer.then(() => {
      isAnswered = true;
    });
    while (!isAnswered && !(await isDecoding()));
    const exitCode = new Promise((resolve) => other.process.once('exit', resolve));
    other.process.kill('SIGTERM');
    expect((await answer).body.items).toHaveLength(1024);
    expect(await exitCode).toBe(0);
  });

  it('refuses requests beyond the queue limit with Retry-After', async () => {
    const small = await startTestServer(makeDataDir(), ['--decode-queue-limit', '1']);
    await loadRetail(small.url);
    const replies = await Promise.all(
      Array.from({ length: 8 }, () => send(small, 'POST', '/v1/recommend', { catalog: 'retail', history })),
    );
    const refused = replies.filter(({ status }) => status === 503);
    expect(refused.length).toBeGreaterThan(0);
    expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    expect(refused[0].body.error.code).toBe('ESP_OVERLOADED');
    expect(refused[0].headers.get('retry-after')).toBe('1');
    await small.stop();
  });
});
