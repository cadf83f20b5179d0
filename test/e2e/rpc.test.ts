import { once } from 'node:events';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { normalizations } from '../../src/kernels/index.js';
import { grpcCodeOf } from '../../src/server/rpc/errors.js';
import { call, grpcClient, metadataOf, plain, struct } from '../helpers/grpc.js';
import { seeded } from '../helpers/seed.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

/** gRPC answers, and refuses, what HTTP does: an independent client asks both. */

let server: ServerProcess;
let client: ReturnType<typeof grpcClient>;

beforeAll(async () => {
  server = await startTestServer(makeDataDir(), ['--grpc-port', '0', '--body-limit-bytes', '65536']);
  await makeSmallCatalog(server);
  await putRule(server, 'red', 'colour == "red"');
  client = grpcClient(server.grpcAddress!, 'RecommendationService');
});
afterAll(() => {
  client?.close();
  return server?.stop();
});

/** The body of HTTP as a message of gRPC. */
// biome-ignore lint/suspicious/noExplicitAny: bodies are made wrong on purpose.
function messageOf({ beamWidth, constraint, explain, ...body }: any): object {
  const { include, params, ...parts } = constraint ?? {};
  return {
    ...body,
    ...(beamWidth !== undefined && { beamWidth: [beamWidth].flat() }),
    ...(constraint && {
      constraint: {
        ...parts,
        ...(include && { include: { ids: include } }),
        ...(params && { params: struct(params) }),
      },
    }),
    ...(explain && { explain: explain === true ? {} : explain }),
  };
}

/** What must be equal: not the clocks, and a message leaves out what is empty. */
// biome-ignore lint/suspicious/noExplicitAny: an answer of either protocol.
function comparable(answer: any): unknown {
  const full = { items: [], unknownItems: [], complete: false, ...answer, timings: undefined };
  // biome-ignore lint/suspicious/noExplicitAny: an item of either protocol.
  const items = full.items.map((item: any) => ({ ...item, sid: item.sid ?? [] }));
  return withoutDefaults({ ...full, items });
}

function withoutDefaults(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDefaults);
  if (typeof value !== 'object' || value === null) return value;
  const isDefault = (entry: unknown) =>
    entry === undefined || entry === null || entry === 0 || (Array.isArray(entry) && entry.length === 0);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => !isDefault(entry))
      .map(([name, entry]) => [name, withoutDefaults(entry)]),
  );
}

async function both(body: object) {
  const http = await send(server, 'POST', '/v1/recommend', body);
  const rpc = await call(client, 'Recommend', messageOf(body));
  return { http, rpc };
}

const often = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 40, arbitrary: usual }, { weight: 1, arbitrary: odd });
const id = fc.constantFrom('0-0', '0-1', '0-2', '1-0', '1-1', '1-2', 'nobody', 'é\u0000"');
const ids = fc.array(often(id, fc.constantFrom('', 'x'.repeat(257))), { maxLength: 5 });
const whole = (usual: number, ...odd: number[]) =>
  often(fc.integer({ min: 1, max: usual }), fc.constantFrom(0, -1, 2 ** 31 - 1, ...odd));

const rule = often<object>(
  fc.constantFrom(
    {},
    { filter: 'colour == "blue"' },
    { filter: 'price >= params.low', params: { low: 1.5 } },
  ),
  fc.constantFrom(
    { filter: 'price >' },
    { filter: '' },
    { filter: 'no_such > 1' },
    { filter: 'price == "red"' },
    { params: { low: 1 } },
    { filter: 'price >= params.low', params: { low: 'red' } },
    { filter: 'price >= params.low', params: { low: null } },
    { filter: 'price in params.low', params: { low: [1, 2] } },
  ),
);

const body = fc
  .record(
    {
      catalog: often(fc.constant('small'), fc.constantFrom('', 'nobody', '..', 'x'.repeat(129))),
      history: ids,
      inputIds: often<number[] | undefined>(
        fc.constant(undefined),
        fc.array(fc.constantFrom(1, 2, 3, -1, 2 ** 31 - 1), { minLength: 1, maxLength: 3 }),
      ),
      k: whole(6, 1025),
      beamWidth: fc.oneof(whole(60, 1025), fc.array(whole(60), { minLength: 2, maxLength: 3 })),
      constraint: fc
        .record(
          {
            set: often(fc.constant('red'), fc.constantFrom('blue', '', '../red')),
            include: ids,
            exclude: ids,
          },
          { requiredKeys: [] },
        )
        .chain((parts) => rule.map((one) => ({ ...parts, ...one }))),
      excludeHistory: fc.boolean(),
      normalize: often(fc.constantFrom(...normalizations), fc.constantFrom('', 'LEVEL')),
      temperature: often(fc.constantFrom(0.5, 1, 2), fc.constantFrom(0, -1, 101)),
      timeoutMs: often(fc.constant(60_000), fc.constantFrom(0, -5, 600_001)),
      attributes: fc.array(
        often(fc.constantFrom('price', 'colour'), fc.constantFrom('size', 'x'.repeat(65))),
        {
          maxLength: 3,
        },
      ),
      diversity: fc.record({
        attribute: often(fc.constant('colour'), fc.constantFrom('', 'size')),
        max: whole(2),
      }),
      explain: fc.oneof(
        fc.constant(true),
        fc.record({ items: fc.array(id, { minLength: 1, maxLength: 3 }) }),
      ),
    },
    { requiredKeys: ['catalog'] },
  )
  // A message cannot tell an absent list from an empty one, except where it matters (include).
  .map(({ inputIds, history, ...one }) => ({
    ...one,
    ...(inputIds && { inputIds }),
    ...((inputIds === undefined || history?.length) && { history: history ?? [] }),
  }))
  .map((one) => (one.attributes?.length === 0 ? { ...one, attributes: ['price'] } : one));

describe('Recommend', () => {
  it('gives the answer of HTTP, or its error with the same details', async () => {
    const seen = { answered: 0, refused: 0, normalized: new Set<string>() };
    await fc.assert(
      fc.asyncProperty(body, async (one) => {
        const { http, rpc } = await both(one);
        if (http.status === 200) {
          seen.answered += 1;
          if (one.normalize !== undefined) seen.normalized.add(one.normalize);
          expect(rpc.error, JSON.stringify(one)).toBeUndefined();
          expect(comparable(rpc.value)).toEqual(comparable(http.body));
        } else {
          seen.refused += 1;
          const { info } = rpc.error ?? {};
          // A message leaves out text that is empty.
          const details = (info?.details ?? []).map((detail) => ({ expected: '', found: '', ...detail }));
          expect({ ...info, details }).toEqual({ details: [], ...http.body.error });
          expect(rpc.error?.status).toBe(grpcCodeOf(http.body.error.code));
        }
      }),
      seeded('gRPC as HTTP', 300),
    );
    // Both sides of the property must have been there.
    expect(seen.answered).toBeGreaterThan(30);
    expect(seen.refused).toBeGreaterThan(30);
    expect([...seen.normalized].sort()).toEqual([...normalizations].sort());
  });

  it.each([
    ['NaN as a temperature', { catalog: 'small', temperature: Number.NaN }, 'temperature'],
    ['infinity as a temperature', { catalog: 'small', temperature: Number.POSITIVE_INFINITY }, 'temperature'],
    [
      'an object as a parameter',
      { catalog: 'small', constraint: { filter: 'true', params: { a: {} } } },
      'constraint.params.a',
    ],
    ['no catalog', {}, 'catalog'],
  ])('refuses %s', async (_name, request, field) => {
    const { error } = await call(client, 'Recommend', messageOf(request));
    expect(error?.info?.code).toBe('ESP_REQUEST_INVALID');
    expect(error?.info?.details[0].field).toBe(field);
  });

  it('allows nothing under an include that is empty, and everything under none', async () => {
    const empty = await call(client, 'Recommend', { catalog: 'small', constraint: { include: { ids: [] } } });
    expect(empty.value.items ?? []).toEqual([]);
    expect(empty.value.shortfall.code).toBe('ESP_SHORTFALL_NOTHING_ALLOWED');
    const none = await call(client, 'Recommend', { catalog: 'small', constraint: {} });
    expect(none.value.items).toHaveLength(6);
  });

  it('refuses a message beyond the limit of bodies', async () => {
    const history = Array.from({ length: 9_000 }, () => '123456789');
    const { error } = await call(client, 'Recommend', { catalog: 'small', history });
    expect(error?.status).toBe(8);
  });
});

describe('many', () => {
  const requests = [
    { catalog: 'small', k: 1 },
    { catalog: 'nobody' },
    { catalog: 'small', k: 2 },
    { catalog: 'small', k: 0 },
  ];
  const codes = [undefined, 'ESP_CATALOG_NOT_FOUND', undefined, 'ESP_REQUEST_INVALID'];
  // biome-ignore lint/suspicious/noExplicitAny: a result as the client reads it.
  const outcomeOf = (result: any) => result.error?.code ?? result.answer.items.length;

  it('answers or refuses each request of a batch', async () => {
    const { value } = await call(client, 'RecommendBatch', { requests });
    expect(value.responses.map(outcomeOf)).toEqual([1, codes[1], 2, codes[3]]);
  });

  it.each([0, 65])('refuses a batch of %i', async (count) => {
    const batch = { requests: Array.from({ length: count }, () => requests[0]) };
    const { error } = await call(client, 'RecommendBatch', batch);
    expect(error?.info).toMatchObject({ code: 'ESP_REQUEST_INVALID', details: [{ field: 'requests' }] });
  });

  /** Errors that were answered so far, of any code. */
  const errorCount = async () => {
    const page = await (await fetch(`${server.url}/metrics`)).text();
    const counts = page.matchAll(/^espalier_errors_total\{.*\} (\d+)$/gm);
    return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
  };

  it('answers a stream as its requests come, in their order', async () => {
    const before = await errorCount();
    const stream = client.RecommendStream(metadataOf({}));
    const outcomes: unknown[] = [];
    const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
    const next = () => new Promise((resolve) => stream.once('data', resolve));
    stream.on('data', (result: unknown) => outcomes.push(outcomeOf(plain(result))));
    const first = next();
    stream.write(requests[0]);
    await first;
    for (const request of requests.slice(1)) stream.write(request);
    for (let i = 0; i < 40; i++) stream.write(requests[0]);
    stream.end();
    await ended;
    expect(outcomes).toEqual([1, codes[1], 2, codes[3], ...Array.from({ length: 40 }, () => 1)]);
    expect(await errorCount()).toBe(before + 2);
  });
});

describe('errors', () => {
  const nobody = { catalog: 'nobody', history: [] };
  const overHttp = (path: string, type: string, text: string) =>
    fetch(server.url + path, { method: 'POST', headers: { 'content-type': type }, body: text });

  it.each([
    [
      'of a batch',
      () => overHttp('/v1/recommend/batch', 'application/json', JSON.stringify({ requests: [nobody] })),
    ],
    [
      'of a stream of lines',
      () => overHttp('/v1/bulk-recommendations', 'application/x-ndjson', JSON.stringify(nobody)),
    ],
    ['of a batch over gRPC', () => call(client, 'RecommendBatch', { requests: [nobody] })],
    [
      'of a stream over gRPC',
      async () => {
        const stream = client.RecommendStream(metadataOf({}));
        stream.end(nobody);
        await once(stream.resume(), 'end');
      },
    ],
  ])('of an entry %s are counted, though the whole succeeds', async (_name, ask) => {
    const before = await countOf('ESP_CATALOG_NOT_FOUND');
    const answer = await ask();
    if (answer instanceof Response) expect(await answer.text()).toContain('ESP_CATALOG_NOT_FOUND');
    expect(await countOf('ESP_CATALOG_NOT_FOUND')).toBe(before + 1);
  });

  async function countOf(code: string): Promise<number> {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(new RegExp(`^espalier_errors_total\\{code="${code}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  }
});
