import { describe, expect, it } from 'vitest';
import { EspalierClient, EspalierClientError } from '../../src/client/index.js';
import { isTransient, waitBeforeRetryMs } from '../../src/client/retry.js';
import { answers, breaksOff, hangs, littleServer, refuses, resets } from '../helpers/little-server.js';

const request = { catalog: 'small', history: [] };
const full = { items: [], complete: false };
const overloaded = refuses(503, 'ESP_OVERLOADED', { 'retry-after': '0' });

async function errorOf(promise: Promise<unknown>): Promise<EspalierClientError> {
  const thrown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(EspalierClientError);
  return thrown as EspalierClientError;
}

describe('retries', () => {
  it('try again after two 503 and a lost connection, and give the answer', async () => {
    const server = await littleServer(overloaded, refuses(429, 'ESP_OVERLOADED'), resets, answers(200, full));
    expect(await new EspalierClient({ url: server.url }).recommend(request)).toEqual(full);
    expect(server.requests.map(({ body }) => JSON.parse(body))).toEqual(Array(4).fill(request));
  });

  it('try again where an answer broke off in the middle', async () => {
    const server = await littleServer(breaksOff, answers(200, full));
    expect(await new EspalierClient({ url: server.url }).recommend(request)).toEqual(full);
    expect(server.requests).toHaveLength(2);
  });

  it('end after as many as were allowed, with the last error', async () => {
    const server = await littleServer(overloaded);
    const error = await errorOf(new EspalierClient({ url: server.url, retries: 2 }).recommend(request));
    expect(error).toMatchObject({ code: 'ESP_OVERLOADED', status: 503, retryAfterSeconds: 0 });
    expect(server.requests).toHaveLength(3);
    const lost = await littleServer(resets);
    const connection = await errorOf(
      new EspalierClient({ url: lost.url }).recommend(request, { retries: 0 }),
    );
    expect(connection).toMatchObject({ code: 'CLIENT_CONNECTION', status: undefined });
    expect(lost.requests).toHaveLength(1);
  });

  it('leave out what would be another thing when done twice', async () => {
    for (const [behaviour, code] of [
      [overloaded, 'ESP_OVERLOADED'],
      [resets, 'CLIENT_CONNECTION'],
    ] as const) {
      const server = await littleServer(behaviour);
      const { catalogs, constraintSets, jobs } = new EspalierClient({ url: server.url });
      const calls = [
        () => catalogs.rollback('small'),
        () => catalogs.delete('small'),
        () => catalogs.changeItems('small', { add: [{ id: 'x' }] }),
        () =>
          catalogs.put(
            'small',
            { model: 'm', sid: { codebookSizes: [1] }, attributes: {} },
            { ifMatch: '"1"' },
          ),
        () => constraintSets.rollback('small', 'red'),
        () => constraintSets.changeAliases([{ delete: { alias: 'a' } }]),
        () => jobs.cancel('1'),
        () => catalogs.upload('small', new Blob(['{}']).stream()),
        () => catalogs.upload('small', '{}', { ifMatch: '"1"' }),
      ];
      for (const [index, call] of calls.entries()) {
        const error = await errorOf(call());
        expect([error.code, error.message]).toEqual([code, expect.not.stringContaining('locked')]);
        expect(server.requests).toHaveLength(index + 1);
      }
    }
  });

  it('leave out errors that stay', async () => {
    const server = await littleServer(refuses(504, 'ESP_TIMEOUT'));
    expect(await errorOf(new EspalierClient({ url: server.url }).recommend(request))).toMatchObject({
      code: 'ESP_TIMEOUT',
      status: 504,
    });
    expect(server.requests).toHaveLength(1);
  });

  it('wait for Retry-After, then for anything up to a limit that doubles', () => {
    expect([1, 2, 3, 20].map((attempts) => waitBeforeRetryMs(attempts, undefined, () => 1))).toEqual([
      100, 200, 400, 10_000,
    ]);
    expect(waitBeforeRetryMs(3, 7, () => 0)).toBe(7_000);
    expect(waitBeforeRetryMs(3, 7, () => 0.5)).toBe(7_200);
    expect(waitBeforeRetryMs(3, undefined, () => 0)).toBe(0);
  });

  it('do not begin when Retry-After is beyond the deadline', async () => {
    const server = await littleServer(refuses(503, 'ESP_OVERLOADED', { 'retry-after': '3600' }));
    const error = await errorOf(new EspalierClient({ url: server.url }).recommend(request));
    expect(error).toMatchObject({ code: 'ESP_OVERLOADED', retryAfterSeconds: 3600 });
  });

  it('count an upload that is still being received as a moment, and no other conflict', () => {
    const conflict = (retryAfterSeconds?: number) =>
      new EspalierClientError('ESP_IDEMPOTENCY_KEY', 'in use', { status: 409, retryAfterSeconds });
    expect([isTransient(conflict(1)), isTransient(conflict()), isTransient(new Error('x'))]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe('deadlines and aborts', () => {
  it('end a call to which no answer comes', async () => {
    const server = await littleServer(hangs);
    const error = await errorOf(new EspalierClient({ url: server.url, timeoutMs: 50 }).recommend(request));
    expect(error).toMatchObject({ code: 'CLIENT_TIMEOUT', status: undefined });
    expect(server.requests).toHaveLength(1);
  });

  it('hold for all attempts together', async () => {
    const server = await littleServer(overloaded, hangs);
    const client = new EspalierClient({ url: server.url, timeoutMs: 500 });
    expect((await errorOf(client.recommend(request))).code).toBe('CLIENT_TIMEOUT');
    expect(server.requests).toHaveLength(2);
  });

  it('give the reason of the caller, before, while and between attempts', async () => {
    const reason = new Error('the shopper has left');
    const hanging = await littleServer(hangs);
    const waiting = await littleServer(refuses(503, 'ESP_OVERLOADED', { 'retry-after': '5' }));
    for (const { url } of [hanging, waiting]) {
      const controller = new AbortController();
      const call = new EspalierClient({ url }).recommend(request, { signal: controller.signal });
      setTimeout(() => controller.abort(reason), 100);
      await expect(call).rejects.toBe(reason);
    }
    const signal = AbortSignal.abort(reason);
    await expect(new EspalierClient({ url: hanging.url }).recommend(request, { signal })).rejects.toBe(
      reason,
    );
    expect(hanging.requests).toHaveLength(1);
  });
});

describe('what is not an answer of the server', () => {
  it('is an error with an excerpt: garbage, and the page of a proxy', async () => {
    const server = await littleServer(
      answers(200, '<html>'),
      answers(504, '<h1>Gateway Timeout</h1>'),
      answers(500, '{}'),
    );
    const client = new EspalierClient({ url: server.url });
    const garbage = await errorOf(client.recommend(request));
    expect(garbage).toMatchObject({ code: 'CLIENT_ANSWER', status: 200 });
    expect(garbage.message).toContain('<html>');
    const page = await errorOf(client.recommend(request));
    expect([page.code, page.status, page.message]).toEqual([
      'CLIENT_ANSWER',
      504,
      'CLIENT_ANSWER: 504: "<h1>Gateway Timeout</h1>"',
    ]);
    expect(await errorOf(client.recommend(request))).toMatchObject({ code: 'CLIENT_ANSWER', status: 500 });
    expect(server.requests).toHaveLength(3);
  });

  it('errors keep details and the request id; headers and the key are sent', async () => {
    const details = [{ field: 'k', expected: 'an integer', found: '"x"' }];
    const body = { error: { code: 'ESP_REQUEST_INVALID', message: 'k', details } };
    const server = await littleServer(answers(400, body, { 'x-request-id': 'r-1' }));
    const client = new EspalierClient({
      url: `${server.url}/`,
      apiKey: 'secret',
      headers: { 'x-actor': 'me' },
    });
    const error = await errorOf(client.recommend(request, { headers: { 'x-more': '1' } }));
    expect(error).toMatchObject({ code: 'ESP_REQUEST_INVALID', status: 400, details, requestId: 'r-1' });
    expect(server.requests[0]).toMatchObject({
      path: '/v1/recommend',
      headers: {
        authorization: 'Bearer secret',
        'x-actor': 'me',
        'x-more': '1',
        'content-type': 'application/json',
      },
    });
  });
});
