import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { handleError } from '../../src/server/http/errors.js';
import { Pressure, shedUnderPressure } from '../../src/server/http/pressure.js';

let refused = 0;
let pressure: Pressure;
let app: FastifyInstance;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(async () => {
  pressure.close();
  await app.close();
  vi.useRealTimers();
});

async function start(maxDelayMs: number): Promise<void> {
  app = Fastify();
  app.setErrorHandler(handleError);
  pressure = new Pressure(maxDelayMs, () => refused++);
  shedUnderPressure(app, pressure);
  app.get('/work', { config: { isShed: true } }, () => 'done');
  app.get('/healthz', () => 'ok');
  await app.ready();
}

/** The thread is blocked for so long, so many times in a row. */
function fallBehind(ms: number, times: number): void {
  for (let count = 0; count < times; count++) {
    const now = performance.now.bind(performance);
    const spy = vi.spyOn(performance, 'now').mockImplementation(() => now() + ms * (count + 1));
    vi.advanceTimersByTime(100);
    spy.mockRestore();
  }
}

it('refuses work, and nothing else, while the thread falls behind, and takes it again after', async () => {
  await start(500);
  fallBehind(1_000, 1);
  expect((await app.inject('/work')).statusCode, 'a hiccup').toBe(200);
  fallBehind(1_000, 10);
  const shed = await app.inject('/work');
  expect([shed.statusCode, shed.headers['retry-after'], shed.json().error.code]).toEqual([
    503,
    '2',
    'ESP_OVERLOADED',
  ]);
  expect((await app.inject('/healthz')).statusCode).toBe(200);
  expect(refused).toBe(1);
  vi.advanceTimersByTime(2_000);
  expect((await app.inject('/work')).statusCode).toBe(200);
});

it('never refuses for it where it is told not to', async () => {
  await start(0);
  fallBehind(60_000, 10);
  expect((await app.inject('/work')).statusCode).toBe(200);
});
