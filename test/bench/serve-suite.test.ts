import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CaseContext } from '../../bench/harness/types.js';
import type { Sample } from '../../bench/load/generator.js';
import { Requests } from '../../bench/load/requests.js';
import type { LoadReply, Transport } from '../../bench/load/transport.js';
import { timeLoneClients, verify } from '../../bench/suites/serve/lone-client.js';
import { perSecond, resultOf } from '../../bench/suites/serve/many-clients.js';
import { RunningServer } from '../../bench/suites/serve/running-server.js';
import { serve } from '../../bench/suites/serve.js';
import { loadRetail } from '../../examples/online-retail/retail.js';

const TIMEOUT_MS = 60_000;

describe('the running server', () => {
  let running: RunningServer;
  beforeAll(async () => {
    running = await RunningServer.start([], false);
    await loadRetail(running.url);
  });
  afterAll(async () => {
    await running?.close();
  });

  const fixed = { beamWidth: 10, constraint: { set: 'under-2-pounds' }, excludeHistory: true };
  const context: CaseContext = {
    options: { size: 'small', seed: 1, large: false, axes: [] },
    say: () => {},
    signal: new AbortController().signal,
  };
  const options = { fixed, timeoutMs: TIMEOUT_MS, checked: 2, warmUp: 0, turns: 3 };
  const client = async (name: string, transport: Transport, seed: number) => ({
    name,
    transport,
    checks: await Requests.read(1),
    requests: await Requests.read(seed),
  });
  /** A protocol that changes what comes back, from a certain answer on. */
  const spoiled = (from: number, spoil: (reply: LoadReply) => LoadReply): Transport => {
    let count = 0;
    return {
      async send(request) {
        const reply = await running.transport('http').send(request);
        return ++count > from ? spoil(reply) : reply;
      },
      close: () => {},
    };
  };
  const withDear = (reply: LoadReply): LoadReply =>
    // An item of 125 pounds, which no such set has.
    reply.outcome === 'answer' ? { ...reply, items: [{ id: '22655' }, ...reply.items.slice(1)] } : reply;

  it('gives equal answers over both protocols, and says where their time goes', async () => {
    const clients = [
      await client('http', running.transport('http'), 2),
      await client('grpc', running.transport('grpc'), 3),
    ];
    const [http, grpc] = await timeLoneClients(clients, options, context);
    for (const { status, spread, extras } of [http, grpc]) {
      expect([status, spread!.samples]).toEqual(['timed', 3]);
      expect(extras!.model.value).toBeGreaterThan(0);
      expect(extras!['overhead in the server'].value).toBeGreaterThanOrEqual(0);
      expect(extras!['overhead as the client sees it'].value).toBeGreaterThan(
        extras!['overhead in the server'].value,
      );
    }
    expect(http.resultHash).toBe(grpc.resultHash);
    expect(Object.keys(grpc.ratioTo!)).toEqual(['http']);
  });

  it('is not timed where an answer breaks its rule, or is none: before it is timed, or while it is', async () => {
    const clients = [
      await client('late', spoiled(2, withDear), 2),
      await client('wrong', spoiled(0, withDear), 3),
      await client(
        'refused',
        spoiled(0, () => ({ outcome: 'error', code: 'ESP_TIMEOUT', hasRetryAfter: false })),
        4,
      ),
      await client(
        'broken',
        spoiled(0, () => ({ outcome: 'failure', message: 'reset' })),
        5,
      ),
      await client('http', running.transport('http'), 6),
    ];
    const results = await timeLoneClients(clients, options, context);
    expect(results.map(({ status, reason }) => [status, reason])).toEqual([
      ['failed', expect.stringMatching(/^3 wrong answers, the first: item 22655 is not in under-2-pounds$/)],
      ['failed', 'request 0: item 22655 is not in under-2-pounds'],
      ['failed', 'request 0: expected an answer, found ESP_TIMEOUT'],
      ['failed', 'request 0: expected an answer, found reset'],
      ['timed', undefined],
    ]);
    expect(results.map(({ spread, ratioTo }) => [spread?.samples, Object.keys(ratioTo ?? {})])).toEqual([
      [undefined, []],
      [undefined, []],
      [undefined, []],
      [undefined, []],
      [3, []],
    ]);
  });

  it('gives answers whose hash says which items came, in which order', async () => {
    const judge = await Requests.read(1);
    const requests = [judge.next(TIMEOUT_MS, false)];
    const hash = async (transport: Transport) => (await verify(transport, judge, requests)).hash;
    const turned = spoiled(0, (reply) =>
      reply.outcome === 'answer' ? { ...reply, items: reply.items.toReversed() } : reply,
    );
    expect(await hash(running.transport('http'))).toBe(await hash(running.transport('grpc')));
    expect(await hash(turned)).not.toBe(await hash(running.transport('http')));
  });
});

describe('a load', () => {
  const answer = (intendedMs: number, latencyMs: number, more: Partial<Sample> = {}): Sample => ({
    intendedMs,
    latencyMs,
    lagMs: 0,
    outcome: 'answer',
    ...more,
  });

  it('is counted while all clients are at it', () => {
    const samples = [answer(0, 100), answer(0, 250), answer(500, 100), answer(900, 99), answer(950, 100)];
    // From 200 ms to 1000 ms: three of them.
    expect(perSecond([samples], 1).value).toBeCloseTo(3 / 0.8);
    expect(perSecond([samples, []], 1).value).toBeCloseTo(3 / 1.6);
  });

  it('fails by one wrong answer, and counts refusals', () => {
    const refusal = answer(5, 1, { outcome: 'ESP_OVERLOADED' });
    expect(resultOf('http', [answer(0, 10), refusal], {})).toMatchObject({
      status: 'timed',
      unit: 'ms',
      spread: { p50: 10, samples: 1 },
      extras: { refused: { value: 0.5 } },
    });
    const wrong = [answer(0, 10), answer(1, 10, { fault: 'item 5 is not in germany' })];
    expect(resultOf('http', wrong, {})).toMatchObject({
      status: 'failed',
      reason: '1 wrong answers, the first: item 5 is not in germany',
    });
    expect(resultOf('http', [answer(0, 1, { outcome: 'no Retry-After' })], {}).status).toBe('failed');
    expect(resultOf('http', [refusal], {})).toMatchObject({
      status: 'failed',
      reason: 'there was no answer',
    });
  });
});

it.each([
  ['small', 8],
  ['quick', 12],
  ['full', 120],
] as const)('the plan of a %s run takes %i seconds, and has every axis', (size, seconds) => {
  const planned = serve.plan({ size, seed: 1, large: false, axes: [] });
  expect(planned.reduce((sum, one) => sum + one.seconds, 0)).toBeLessThanOrEqual(seconds);
  expect(new Set(planned.map(({ axis }) => axis))).toEqual(new Set(serve.axes));
});
