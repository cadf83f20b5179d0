import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { SetRefresher } from '../../src/server/constraint-sets/set-refresher.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('refreshes sets that were evaluated together one after the other, and none late', async () => {
  const startMs = Date.now();
  const times: number[] = [];
  const refresher = new SetRefresher({
    scheduleOf: () => ({ evaluatedAtMs: startMs, refreshMs: 10_000 }),
    refresh: async () => void times.push(Date.now() - startMs),
    onEnd: (error) => expect(error).toBeNull(),
  });
  for (let index = 0; index < 200; index++) refresher.schedule('shop', `set-${index}`);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(times).toHaveLength(200);
  expect(Math.min(...times)).toBeGreaterThanOrEqual(9_000);
  const busiest = Math.max(
    ...times.map((time) => times.filter((other) => Math.abs(other - time) < 50).length),
  );
  expect(busiest).toBeLessThan(60);
});
