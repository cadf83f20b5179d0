import Fastify from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LimitKind, RateLimits } from '../../../src/server/security/rate-limits.js';
import { noRedis, TestRedis } from '../../helpers/redis.js';

const warnings: string[] = [];
const logger = { info: () => {}, warn: (message: string) => void warnings.push(message) };
const stops: (() => Promise<void> | void)[] = [];

async function start(redisUrl?: string): Promise<RateLimits> {
  const config = { rateLimitPerMinute: 3, writeRateLimitPerMinute: 1, ...(redisUrl && { redisUrl }) };
  const limits = new RateLimits(config, logger as never);
  const app = Fastify();
  await limits.start(app);
  await app.ready();
  stops.push(
    () => limits.close(),
    () => app.close(),
  );
  return limits;
}

/** What is left after each of some requests; `over` beyond the limit, `any` where nobody counts. */
async function countOf(limits: RateLimits, kind: LimitKind, who: string, times: number) {
  const found: (number | 'over' | 'any')[] = [];
  for (let count = 0; count < times; count++) {
    const quota = await limits.count(kind, who);
    found.push(quota === undefined ? 'any' : quota.isExceeded ? 'over' : quota.remaining);
  }
  return found;
}

afterAll(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

it('counts each kind and each caller for itself', async () => {
  const limits = await start();
  expect(await countOf(limits, 'recommend', 'a', 5)).toEqual([2, 1, 0, 'over', 'over']);
  expect(await countOf(limits, 'write', 'a', 2)).toEqual([0, 'over']);
  expect(await countOf(limits, 'recommend', 'b', 1)).toEqual([2]);
  const quota = await limits.count('recommend', 'b');
  expect(quota).toMatchObject({ limit: 3, isExceeded: false });
  expect(quota!.resetSeconds).toBeGreaterThan(0);
});

it('counts nothing where there is no limit', async () => {
  const limits = new RateLimits({ rateLimitPerMinute: 0, writeRateLimitPerMinute: 0 }, logger as never);
  await limits.start(Fastify());
  expect(await countOf(limits, 'recommend', 'a', 2)).toEqual(['any', 'any']);
});

describe.skipIf(noRedis !== undefined)('on Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await TestRedis.start();
  });
  afterAll(() => redis.remove());

  /** Until Redis is noticed, or its absence. */
  async function until(limits: RateLimits, isCounted: boolean): Promise<void> {
    for (let try_ = 0; ; try_++) {
      if (((await limits.count('recommend', `probe-${try_}`)) !== undefined) === isCounted) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('counts what comes to several servers together, and nobody while Redis is gone', async () => {
    const one = await start(redis.url);
    const other = await start(redis.url);
    await until(one, true);
    await until(other, true);
    expect(await countOf(one, 'recommend', 'a', 2)).toEqual([2, 1]);
    expect(await countOf(other, 'recommend', 'a', 2)).toEqual([0, 'over']);
    await redis.stop();
    await until(one, false);
    expect(await countOf(one, 'recommend', 'a', 3)).toEqual(['any', 'any', 'any']);
    expect(warnings.some((text) => text.includes('nobody is rate-limited'))).toBe(true);
    await redis.start();
    await until(one, true);
    expect(await countOf(one, 'write', 'a', 2)).toEqual([0, 'over']);
  });
});
