import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { BullMqProcessor } from '../../src/server/jobs/bullmq/bullmq-processor.js';
import { BullMqQueue } from '../../src/server/jobs/bullmq/bullmq-queue.js';
import { EmbeddedQueue } from '../../src/server/jobs/embedded-queue.js';
import type { WorkContext, WorkKinds, WorkQueue, WorkTask } from '../../src/server/jobs/work-queue.js';
import { named } from '../helpers/named.js';
import { noRedis, TestRedis } from '../helpers/redis.js';

/** What the work below did, in order. */
let log: string[] = [];
/** When the work was tried that fails unexpectedly. */
let brokenAtMs: number[] = [];
/** Works that wait to be let on. */
let gates: (() => void)[] = [];
let running = 0;
let mostRunning = 0;

const kinds: WorkKinds = {
  async echo(payload, { onProgress, dataDir }) {
    log.push(`echo ${payload.name}`);
    onProgress('thinking', 0.5);
    await delay(5);
    return { ...payload, dataDir };
  },
  async slow(payload, { signal, onProgress }: WorkContext) {
    onProgress('thinking', 0.5);
    log.push(`slow ${payload.name}`);
    mostRunning = Math.max(mostRunning, ++running);
    try {
      await new Promise<void>((resolve, reject) => {
        gates.push(resolve);
        const cancel = () => reject(new EspalierError('ESP_CANCELLED', 'the work saw the signal'));
        if (signal.aborted) cancel();
        signal.addEventListener('abort', cancel);
      });
      return { name: payload.name };
    } catch (thrown) {
      log.push(`cancelled ${payload.name}`);
      throw thrown;
    } finally {
      running--;
    }
  },
  async bad() {
    log.push('bad');
    const details = [{ line: 3, field: 'sid', expected: 'a list', found: '"x"' }];
    throw new EspalierError('ESP_UPLOAD_INVALID', '1 bad line', { details });
  },
  async broken() {
    log.push('broken');
    brokenAtMs.push(performance.now());
    throw new TypeError('cannot read properties of undefined');
  },
};

interface Adapter {
  name: string;
  skip: boolean;
  /** How long it waits before it tries again what has failed unexpectedly, each time. */
  backoffsMs: readonly number[];
  /** The queue object, with what works on it; a second one of the same identity has what the first one had. */
  open(concurrency: number): WorkQueue & { close(): Promise<void> };
}

let redis: TestRedis;
let identity = '';
const opened: WorkQueue[] = [];

const BACKOFF_MS = 40;
/** Clocks of milliseconds, in two processes. */
const CLOCKS_MS = 5;

const adapters: Adapter[] = [
  {
    name: 'embedded',
    skip: false,
    backoffsMs: [],
    open: (concurrency) => new EmbeddedQueue({ kinds, dataDir: 'the data dir', concurrency }),
  },
  {
    name: `BullMQ${noRedis === undefined ? '' : ` (${noRedis})`}`,
    skip: noRedis !== undefined,
    backoffsMs: [BACKOFF_MS, 2 * BACKOFF_MS],
    open(concurrency) {
      const options = { redisUrl: redis.url, identity, backoffMs: BACKOFF_MS };
      const queue = new BullMqQueue(options);
      const processor = new BullMqProcessor({
        ...options,
        dataDir: 'the data dir',
        kinds,
        concurrency,
        isWanted: () => true,
        onError: () => {},
      });
      return {
        enqueue: (task) => queue.enqueue(task),
        follow: (task, follower) => queue.follow(task, follower),
        unavailable: () => queue.unavailable(),
        async close() {
          await queue.close();
          await processor.close();
        },
      };
    },
  },
];

beforeAll(async () => {
  if (noRedis === undefined) redis = await TestRedis.start();
});
afterAll(() => redis?.remove());
afterEach(async () => {
  for (const open of gates) open();
  await Promise.all(opened.splice(0).map((queue) => queue.close()));
});

for (const adapter of adapters) {
  describe.skipIf(adapter.skip)(`the ${adapter.name} queue`, () => {
    async function open(concurrency = 1, isNew = true): Promise<WorkQueue> {
      if (isNew) {
        [log, brokenAtMs, gates, running, mostRunning] = [[], [], [], 0, 0];
        identity = randomUUID();
      }
      const queue = adapter.open(concurrency);
      opened.push(queue);
      await until(() => queue.unavailable() === undefined);
      return queue;
    }

    it('gives the result', async () => {
      const queue = await open();
      const task = taskOf('echo', { name: 'a', list: [1, { b: null }] });
      await queue.enqueue(task);
      expect(await follow(queue, task)).toEqual({ ...task.payload, dataDir: 'the data dir' });
      expect(log).toEqual(['echo a']);
    });

    it('says when the work begins, and how far it is', async () => {
      const queue = await open();
      const task = taskOf('slow', { name: 'a' });
      const seen: [string, number][] = [];
      const ended = follow(queue, task, undefined, (...progress) => seen.push(progress));
      await until(() => seen.some(([phase]) => phase === 'thinking'));
      expect(['starting', 'thinking']).toContain(seen[0][0]);
      expect(seen.at(-1)).toEqual(['thinking', 0.5]);
      gates[0]();
      expect(await ended).toEqual({ name: 'a' });
    });

    it('fails as the work does, with the details, and does not try that again', async () => {
      const queue = await open();
      const failure = await follow(queue, taskOf('bad')).catch((error) => error);
      expect(failure).toBeInstanceOf(EspalierError);
      expect(failure).toMatchObject({
        code: 'ESP_UPLOAD_INVALID',
        message: '1 bad line',
        details: [{ line: 3, field: 'sid', expected: 'a list', found: '"x"' }],
      });
      expect(log).toEqual(['bad']);
    });

    it('fails with ESP_INTERNAL where the work fails unexpectedly each time, or has no function', async () => {
      const queue = await open();
      const failure = { code: 'ESP_INTERNAL', message: 'cannot read properties of undefined' };
      await expect(follow(queue, taskOf('broken'))).rejects.toMatchObject(failure);
      expect(log).toEqual(['broken', ...adapter.backoffsMs.map(() => 'broken')]);
      adapter.backoffsMs.forEach((backoffMs, index) => {
        const passedMs = brokenAtMs[index + 1] - brokenAtMs[index];
        expect(passedMs).toBeGreaterThan(backoffMs - CLOCKS_MS);
      });
      await expect(follow(queue, taskOf('toString'))).rejects.toMatchObject({ code: 'ESP_INTERNAL' });
    });

    it('cancels work that waits: it never begins', async () => {
      const queue = await open();
      const first = follow(queue, taskOf('slow', { name: 'first' }));
      await until(() => gates.length === 1);
      const abort = new AbortController();
      const second = follow(queue, taskOf('slow', { name: 'second' }), abort.signal);
      await delay(50);
      abort.abort();
      await expect(second).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
      gates[0]();
      expect(await first).toEqual({ name: 'first' });
      expect(await follow(queue, taskOf('echo', { name: 'third' }))).toMatchObject({ name: 'third' });
      expect(log).toEqual(['slow first', 'echo third']);
    });

    it('cancels work that runs, and goes on with the next', async () => {
      const queue = await open();
      const abort = new AbortController();
      const first = follow(queue, taskOf('slow', { name: 'first' }), abort.signal);
      await until(() => gates.length === 1);
      abort.abort();
      await expect(first).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
      expect(await follow(queue, taskOf('echo', { name: 'second' }))).toMatchObject({ name: 'second' });
      expect(log).toEqual(['slow first', 'cancelled first', 'echo second']);
    });

    it('takes a task once', async () => {
      const queue = await open();
      const task = taskOf('echo', { name: 'a' });
      await Promise.all([queue.enqueue(task), queue.enqueue(task)]);
      await queue.enqueue(task);
      await follow(queue, task);
      await follow(queue, taskOf('echo', { name: 'b' }));
      expect(log).toEqual(['echo a', 'echo b']);
    });

    it('lets go of followers when it closes, and another one on the same tasks goes on', async () => {
      const queue = await open();
      const tasks = [taskOf('slow', { name: 'runs' }), taskOf('slow', { name: 'waits' })];
      for (const task of tasks) await queue.enqueue(task);
      const before = tasks.map((task) => follow(queue, task));
      await until(() => gates.length === 1);
      const settled = Promise.allSettled(before);
      await queue.close();
      for (const { reason } of (await settled) as PromiseRejectedResult[]) {
        expect(reason).toMatchObject({ code: 'ESP_SHUTTING_DOWN' });
      }
      await expect(queue.enqueue(tasks[0])).rejects.toMatchObject({ code: 'ESP_SHUTTING_DOWN' });
      expect(log).toEqual(['slow runs', 'cancelled runs']);

      const next = await open(1, false);
      const after = tasks.map((task) => follow(next, task));
      for (const count of [2, 3]) {
        await until(() => gates.length === count);
        gates.at(-1)!();
      }
      expect((await Promise.all(after)).map(({ name }) => name)).toEqual(['runs', 'waits']);
      expect(log.slice(2)).toEqual(['slow runs', 'slow waits']);
    });

    it('keeps the order', async () => {
      const queue = await open();
      const tasks = Array.from({ length: 12 }, (_, index) => taskOf('echo', { name: index }));
      for (const task of tasks) await queue.enqueue(task);
      await Promise.all(tasks.map((task) => follow(queue, task)));
      expect(log).toEqual(tasks.map(({ payload }) => `echo ${payload.name}`));
    });

    it('runs as much at a time as it should, and no more', async () => {
      const queue = await open(2);
      const tasks = Array.from({ length: 5 }, (_, index) => taskOf('slow', { name: index }));
      const ended = Promise.all(tasks.map((task) => follow(queue, task)));
      for (let begun = 1; begun <= tasks.length; begun++) {
        await until(() => gates.length >= Math.min(begun + 1, tasks.length));
        await delay(20);
        gates[begun - 1]();
      }
      await ended;
      expect(mostRunning).toBe(2);
    });
  });
}

describe.skipIf(noRedis)(named('a processor that leaves a kind', noRedis), () => {
  it('leaves it to one that takes it, and goes on with others', async () => {
    [log, gates, running, mostRunning] = [[], [], 0, 0];
    identity = randomUUID();
    const queue = new BullMqQueue({ redisUrl: redis.url, identity });
    const start = (leaves: string[]) =>
      new BullMqProcessor({
        ...{ redisUrl: redis.url, identity, dataDir: 'the data dir', kinds, leaves, concurrency: 1 },
        isWanted: () => true,
        onError: () => {},
      });
    await until(() => queue.unavailable() === undefined);
    const few = start(['slow']);
    const left = follow(queue, taskOf('slow', { name: 'left' }));
    await follow(queue, taskOf('echo', { name: 'own' }));
    const all = start([]);
    await until(() => gates.length === 1);
    gates[0]();
    expect(await left).toEqual({ name: 'left' });
    expect(log).toEqual(['echo own', 'slow left']);
    await Promise.all([queue.close(), few.close(), all.close()]);
  });
});

function taskOf(kind: string, payload: WorkTask['payload'] = {}): WorkTask {
  return { id: randomUUID(), kind, payload };
}

function follow(
  queue: WorkQueue,
  task: WorkTask,
  signal = new AbortController().signal,
  onProgress: (phase: string, fraction: number) => void = () => {},
) {
  return queue.follow(task, { onProgress, signal });
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !isTrue(); ) {
    if (Date.now() > deadline) throw new Error('it never came to that');
    await delay(5);
  }
}
