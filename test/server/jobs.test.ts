import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { JobEvents } from '../../src/server/http/job-events.js';
import { EmbeddedQueue } from '../../src/server/jobs/embedded-queue.js';
import { IdempotencyKeys } from '../../src/server/jobs/idempotency.js';
import { type Job, type JobRecord, JobStore } from '../../src/server/jobs/job-store.js';
import { type JobKind, Jobs, type NewJob } from '../../src/server/jobs/jobs.js';
import type { WorkContext } from '../../src/server/jobs/work-queue.js';

const makeDataDir = () => mkdtempSync(join(tmpdir(), 'espalier-jobs-'));

/** Jobs over a real store and a real queue; work and finish end when they are let on. */
function open({ dataDir = makeDataDir(), concurrency = 1, kind = {} as Partial<JobKind> } = {}) {
  const log: string[] = [];
  const ended: string[] = [];
  const gates = new Map<string, () => void>();
  const gate = (name: string, signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      log.push(name);
      gates.set(name, resolve);
      signal?.addEventListener('abort', () => reject(new EspalierError('ESP_CANCELLED', 'by the signal')));
    });
  const work = async ({ name }: Record<string, unknown>, { signal, onProgress }: WorkContext) => {
    onProgress('parsing', 0.25);
    await gate(`work ${name}`, signal);
    return { items: 7 };
  };
  const store = new JobStore(dataDir, (error) => {
    throw error;
  });
  const queue = new EmbeddedQueue({ kinds: { 'catalog-build': work }, dataDir, concurrency });
  const onEnd = ({ state }: Job) => void ended.push(state);
  const jobs = new Jobs({
    dataDir,
    store,
    queue,
    maxUnfinished: 100,
    onEnd,
    onRefusal: () => {},
    log: (error) => void log.push(error.message),
  });
  const nameOf = (job: JobRecord) => String(job.payload!.name);
  jobs.define('catalog-build', {
    findResult: () => undefined,
    async finish(job, result) {
      await gate(`finish ${nameOf(job)}`);
      return { ...result, finished: true };
    },
    discard: (job) => void log.push(`discard ${nameOf(job)}`),
    ...kind,
  });
  const letOn = async (name: string) => {
    await until(() => gates.has(name));
    gates.get(name)!();
  };
  const submit = (name: string, more: Partial<NewJob> = {}) => {
    writeFileSync(join(dataDir, name), 'an upload');
    const job = {
      kind: 'catalog-build' as const,
      payload: { name },
      files: [name],
      catalog: 'c',
      version: 1,
    };
    return jobs.submit({ ...job, ...more });
  };
  return { dataDir, store, jobs, log, ended, letOn, submit };
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !isTrue(); await delay(2)) {
    if (Date.now() > deadline) throw new Error('it never came to that');
  }
}

describe('jobs', () => {
  it('go from queued to succeeded, and tell every change', async () => {
    const { jobs, dataDir, letOn, submit, ended } = open();
    const job = await submit('a');
    expect(job).toMatchObject({ state: 'queued', catalog: 'c', version: 1 });
    expect(Object.keys(job)).not.toContain('payload');
    const seen: Job[] = [];
    const unwatch = jobs.watch(job.id, (changed) => seen.push(changed));
    await letOn('work a');
    await letOn('finish a');
    await until(() => jobs.get(job.id).state === 'succeeded');
    unwatch();
    expect(jobs.get(job.id).result).toEqual({ items: 7, finished: true });
    expect(seen.at(-1)).toEqual(jobs.get(job.id));
    expect(ended).toEqual(['succeeded']);
    expect(existsSync(join(dataDir, 'a'))).toBe(false);
    await jobs.close();
  });

  it('are put in place in the order in which they came, whichever work is done first', async () => {
    const { jobs, log, letOn, submit } = open({ concurrency: 2 });
    await submit('a');
    await submit('b', { version: 2 });
    const other = await submit('other', { catalog: 'd' });
    await letOn('work b');
    await letOn('work other');
    await letOn('finish other');
    await until(() => jobs.get(other.id).state === 'succeeded');
    expect(log).not.toContain('finish b');
    await letOn('work a');
    await letOn('finish a');
    await letOn('finish b');
    await until(() => jobs.list().every(({ state }) => state === 'succeeded'));
    await jobs.close();
  });

  it('are cancelled while they wait or run, and not once they are being put in place', async () => {
    const { jobs, log, ended, dataDir, letOn, submit } = open();
    const [runs, waits] = [await submit('runs'), await submit('waits')];
    await until(() => log.includes('work runs'));
    for (const { id } of [waits, runs]) {
      expect(jobs.cancel(id)).toMatchObject({ state: 'cancelled', error: { code: 'ESP_CANCELLED' } });
      expect(() => jobs.cancel(id)).toThrow(expect.objectContaining({ code: 'ESP_JOB_ENDED' }));
    }
    await until(() => log.includes('discard runs') && log.includes('discard waits'));
    expect(log).not.toContain('work waits');
    expect(existsSync(join(dataDir, 'runs'))).toBe(false);
    const late = await submit('late');
    await letOn('work late');
    await until(() => log.includes('finish late'));
    expect(() => jobs.cancel(late.id)).toThrow(expect.objectContaining({ code: 'ESP_JOB_ENDED' }));
    await letOn('finish late');
    await until(() => jobs.get(late.id).state === 'succeeded');
    expect(ended).toEqual(['cancelled', 'cancelled', 'succeeded']);
    await jobs.close();
  });

  it('fail as their last part does, and say no more than callers may see', async () => {
    const failures = [new EspalierError('ESP_SET_UNBOUND', 'set x'), new TypeError('secret')];
    const finish = async () => {
      throw failures.shift();
    };
    const { jobs, log, letOn, submit } = open({ kind: { finish } });
    const [first, second] = [await submit('a'), await submit('b')];
    await letOn('work a');
    await letOn('work b');
    await until(() => jobs.get(second.id).state === 'failed');
    expect(jobs.get(first.id).error).toEqual({ code: 'ESP_SET_UNBOUND', message: 'set x' });
    expect(jobs.get(second.id).error?.message).toBe(`something went wrong; the log has job ${second.id}`);
    expect(log).toContain('secret');
    await jobs.close();
  });

  it('that a stop interrupts go on at the next start, and their last part is waited for', async () => {
    const first = open();
    const [placed, runs, waits] = [
      await first.submit('placed'),
      await first.submit('runs', { catalog: 'd' }),
      await first.submit('waits', { catalog: 'e' }),
    ];
    await first.letOn('work placed');
    await until(() => first.log.includes('finish placed') && first.log.includes('work runs'));
    let isClosed = false;
    const closed = first.jobs.close().then(() => {
      isClosed = true;
    });
    await delay(30);
    expect(isClosed).toBe(false);
    await expect(first.submit('too-late')).rejects.toMatchObject({ code: 'ESP_SHUTTING_DOWN' });
    await first.letOn('finish placed');
    await closed;
    expect(first.ended).toEqual(['succeeded']);
    expect(first.log).not.toContain('discard runs');

    const second = open({ dataDir: first.dataDir });
    expect(second.jobs.get(placed.id).state).toBe('succeeded');
    second.jobs.resume();
    for (const name of ['runs', 'waits']) {
      await second.letOn(`work ${name}`);
      await second.letOn(`finish ${name}`);
    }
    await until(() => second.jobs.get(waits.id).state === 'succeeded');
    expect(second.jobs.get(runs.id).result).toEqual({ items: 7, finished: true });
    await second.jobs.close();
  });

  it('skip the work where its result is in place, and fail where it cannot go on', async () => {
    const first = open();
    const job = await first.submit('a');
    await first.jobs.close();
    const old = { id: 'old', kind: 'catalog-build', state: 'running', phase: 'parsing', fraction: 0.5 };
    const createdAt = '2020-01-01T00:00:00.000Z';
    writeFileSync(join(first.dataDir, 'jobs/old.json'), JSON.stringify({ ...old, createdAt }));
    const second = open({ dataDir: first.dataDir, kind: { findResult: () => ({ items: 3 }) } });
    second.jobs.resume();
    expect(second.jobs.get('old')).toMatchObject({ state: 'failed', error: { code: 'ESP_JOB_INTERRUPTED' } });
    await second.letOn('finish a');
    await until(() => second.jobs.get(job.id).state === 'succeeded');
    expect(second.jobs.get(job.id).result).toEqual({ items: 3, finished: true });
    expect(second.log).toEqual(['finish a']);
    await second.jobs.close();
  });
});

describe('an Idempotency-Key', () => {
  const request = (key: unknown, url = '/v1/catalogs/c/versions') =>
    ({ headers: { 'idempotency-key': key }, url }) as Parameters<IdempotencyKeys['once']>[0];

  it('makes one job, whatever became of it, after a restart too', async () => {
    const first = open();
    const keys = new IdempotencyKeys(first.jobs);
    let starts = 0;
    const start = async (idempotency: { key: string; target: string } | undefined) => {
      starts++;
      const job = await first.submit('a', { version: 4, ...(idempotency && { idempotency }) });
      return { job, version: 4 };
    };
    const { job } = await keys.once(request('k'), start);
    first.jobs.cancel(job.id);
    expect(await keys.once(request('k'), start)).toEqual({ job: first.jobs.get(job.id), version: 4 });
    await expect(keys.once(request('k', '/v1/other'), start)).rejects.toMatchObject({
      code: 'ESP_IDEMPOTENCY_KEY',
      details: [{ expected: '/v1/catalogs/c/versions', found: '/v1/other' }],
    });
    expect((await keys.once(request(undefined), start)).job.id).not.toBe(job.id);
    expect(starts).toBe(2);
    await first.jobs.close();
    const second = open({ dataDir: first.dataDir });
    const again = await new IdempotencyKeys(second.jobs).once(request('k'), start);
    expect(again.job).toMatchObject({ id: job.id, state: 'cancelled' });
    expect(starts).toBe(2);
  });

  it('belongs to the request that is being received, and is free again when that fails', async () => {
    const { jobs } = open();
    const keys = new IdempotencyKeys(jobs);
    let fail!: (error: Error) => void;
    const receiving = keys.once(
      request('k'),
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    );
    const neverStarts = () => Promise.reject(new Error('started twice'));
    await expect(keys.once(request('k'), neverStarts)).rejects.toMatchObject({
      code: 'ESP_IDEMPOTENCY_KEY',
      retryAfterSeconds: 1,
    });
    fail(new EspalierError('ESP_UPLOAD_ABORTED', 'gone'));
    await expect(receiving).rejects.toMatchObject({ code: 'ESP_UPLOAD_ABORTED' });
    await expect(keys.once(request('k'), neverStarts)).rejects.toThrow('started twice');
  });

  it.each(['', 'a b', 'é', 'x'.repeat(256), ['a', 'b']])('is refused as %j', async (key) => {
    const { jobs } = open();
    await expect(
      new IdempotencyKeys(jobs).once(request(key), async () => expect.fail()),
    ).rejects.toMatchObject({ code: 'ESP_REQUEST_INVALID', details: [{ field: 'idempotency-key' }] });
  });
});

describe('the events of a job', () => {
  const job = { id: 'x', kind: 'k', state: 'running', phase: 'p', fraction: 0, createdAt: '' } as Job;

  /** A source of changes that counts its listeners. */
  function source(first: Job = job) {
    const listeners = new Set<(changed: Job) => void>();
    return {
      listeners,
      get: () => first,
      watch(_id: string, listener: (changed: Job) => void) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      tell(changed: Partial<Job>) {
        for (const listener of listeners) listener({ ...job, ...changed });
      },
    };
  }
  const stream = (events: JobEvents) => events.toArray().then((chunks) => chunks.join(''));
  const fractions = (text: string) =>
    Array.from(text.matchAll(/"fraction":([\d.]+)/g), ([, one]) => Number(one));

  it('begin with the job as it is, and end with it', async () => {
    const jobs = source();
    const read = stream(new JobEvents(jobs, 'x'));
    jobs.tell({ fraction: 0.5 });
    jobs.tell({ state: 'succeeded', fraction: 1 });
    const text = await read;
    expect(text.split('\n\n')[0]).toBe(`event: job\ndata: ${JSON.stringify({ job })}`);
    expect(fractions(text)).toEqual([0, 0.5, 1]);
    expect(jobs.listeners.size).toBe(0);
    expect(fractions(await stream(new JobEvents(source({ ...job, state: 'failed' }), 'x')))).toEqual([0]);
  });

  it('say now and then that they are still there, and leave no listener', async () => {
    const jobs = source();
    const events = new JobEvents(jobs, 'x', 5);
    let text = '';
    events.on('data', (chunk) => {
      text += chunk;
    });
    await until(() => text.includes(': still here\n\n'));
    events.destroy();
    expect(jobs.listeners.size).toBe(0);
    const ended = new JobEvents(jobs, 'x');
    ended.end();
    ended.end();
    await stream(ended);
    expect(jobs.listeners.size).toBe(0);
  });

  it('skip what a slow reader has no time for, but never the end', async () => {
    const jobs = source();
    const events = new JobEvents(jobs, 'x');
    for (let step = 1; step < 5_000; step++) jobs.tell({ fraction: step });
    jobs.tell({ state: 'failed', fraction: 5_000 });
    expect(events.readableLength).toBeLessThan(100_000);
    const seen = fractions(await stream(events));
    expect(seen.length).toBeLessThan(1_000);
    expect(seen.at(-1)).toBe(5_000);
    expect(jobs.listeners.size).toBe(0);
  });
});

it('a job record on disk is what a restart needs', async () => {
  const { dataDir, jobs, submit } = open();
  const { id } = await submit('a', { idempotency: { key: 'k', target: '/t' } });
  expect(JSON.parse(readFileSync(join(dataDir, 'jobs', `${id}.json`), 'utf8'))).toMatchObject({
    payload: { name: 'a' },
    files: ['a'],
    idempotency: { key: 'k', target: '/t' },
  });
  await jobs.close();
});
