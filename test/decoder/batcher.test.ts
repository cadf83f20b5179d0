import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Batcher, type BatcherOptions, type DecodedBatch, type Refusal } from '../../src/decoder/batcher.js';
import { newReport } from '../../src/decoder/decode-report.js';
import type { BatchReply } from '../../src/decoder/engine.js';
import { monotonicMs } from '../../src/decoder/monotonic-ms.js';
import type { RecommendAnswer, RecommendQuery } from '../../src/decoder/recommend-query.js';
import { EspalierError } from '../../src/errors.js';
import { query } from '../helpers/query.js';

/** Engines whose batches end when the test says so. */
class HeldEngines {
  readonly batches: { ids: string[]; end: (outcome?: Error) => void }[] = [];
  readonly cancelled: string[] = [];
  readonly decoded: DecodedBatch[] = [];
  readonly refusals: Refusal[] = [];
  readonly batcher: Batcher;
  #idle: number;

  constructor(engineCount: number, options: Partial<BatcherOptions> = {}) {
    this.#idle = engineCount;
    this.batcher = new Batcher({
      queueLimit: 100,
      maxWaitMs: 0,
      maxRowsOf: () => 100,
      hasIdleEngine: () => this.#idle > 0,
      engineCount: () => engineCount,
      run: (queries, onStart) => this.#run(queries, onStart),
      onBatch: (batch) => this.decoded.push(batch),
      onRefusal: (reason) => this.refusals.push(reason),
      ...options,
    });
  }

  ask(id: string, fields: Partial<RecommendQuery> & { model?: string; signal?: AbortSignal } = {}) {
    const { model = 'a', signal, ...rest } = fields;
    const answer = this.batcher.recommend(query({ requestId: id, beamWidth: 10, ...rest }), model, signal);
    // Those that a test leaves waiting end when it is over.
    answer.catch(() => {});
    return answer;
  }

  /** A batch of ten rows that takes so long: what later ones are expected to take. */
  async decodeFor(ms: number, beamWidth = 10): Promise<void> {
    const answer = this.ask('first', { beamWidth });
    await sleep(ms);
    this.batches.at(-1)!.end();
    await answer;
  }

  get ids(): string[][] {
    return this.batches.map(({ ids }) => ids);
  }

  #run(
    queries: readonly RecommendQuery[],
    onStart: (cancel: (id: string) => void) => void,
  ): Promise<BatchReply> {
    this.#idle--;
    onStart((id) => this.cancelled.push(id));
    const ids = queries.map(({ requestId }) => requestId);
    return new Promise((resolve, reject) => {
      const end = (outcome?: Error) => {
        this.#idle++;
        const results = ids.map((id) => ({ answer: { unknownItems: [id] } as unknown as RecommendAnswer }));
        if (outcome === undefined) {
          resolve({ results, report: newReport(), prefillCacheBytes: 0, durationMs: 1 });
        } else {
          reject(outcome);
        }
      };
      this.batches.push({ ids, end });
    });
  }
}

describe('batching', () => {
  it('gives a lone request to an idle engine at once, and those that came meanwhile together', async () => {
    const engines = new HeldEngines(1);
    const answers = ['1', '2', '3'].map((id) => engines.ask(id));
    expect(engines.ids).toEqual([['1']]);
    expect(engines.batcher.length).toBe(3);
    engines.batches[0].end();
    expect((await answers[0]).unknownItems).toEqual(['1']);
    expect(engines.ids).toEqual([['1'], ['2', '3']]);
    engines.batches[1].end();
    expect((await answers[2]).unknownItems).toEqual(['3']);
    expect(engines.decoded.map(({ requests, rows }) => [requests, rows])).toEqual([
      [1, 10],
      [2, 20],
    ]);
    expect(engines.batcher.length).toBe(0);
  });

  it('fills every idle engine', () => {
    const engines = new HeldEngines(2);
    for (const id of ['1', '2', '3']) void engines.ask(id);
    expect(engines.ids).toEqual([['1'], ['2']]);
  });

  it('takes as many as its rows allow, in the order in which they came, and always one', async () => {
    const engines = new HeldEngines(1, { maxRowsOf: () => 25 });
    void engines.ask('first');
    const wide = engines.ask('wide', { beamWidth: [5, 70] });
    for (const id of ['2', '3', '4']) void engines.ask(id);
    engines.batches[0].end();
    await sleep(0);
    engines.batches[1].end();
    await wide;
    expect(engines.ids).toEqual([['first'], ['wide'], ['2', '3']]);
  });

  it('counts every request as wide as the widest, which a model may have to pad it to', async () => {
    const engines = new HeldEngines(1, { maxRowsOf: () => 60 });
    void engines.ask('first');
    for (const id of ['1', '2']) void engines.ask(id, { beamWidth: 2 });
    for (const id of ['3', '4']) void engines.ask(id, { beamWidth: 20 });
    engines.batches[0].end();
    await sleep(0);
    expect(engines.ids).toEqual([['first'], ['1', '2', '3']]);
  });

  it('never mixes models, and lets none starve behind another', async () => {
    const engines = new HeldEngines(1);
    void engines.ask('first');
    for (const id of ['a1', 'b1', 'a2', 'b2']) void engines.ask(id, { model: id[0] });
    for (let batch = 0; batch < 3; batch++) {
      engines.batches[batch].end();
      await sleep(0);
      // What keeps coming for the other model does not go before them.
      void engines.ask(`a${batch + 3}`, { model: 'a' });
    }
    expect(engines.ids).toEqual([['first'], ['a1', 'a2'], ['b1', 'b2'], ['a3', 'a4']]);
  });

  it('waits for company only where the last batch had some, and not long', async () => {
    const engines = new HeldEngines(1, { maxWaitMs: 40 });
    void engines.ask('1');
    void engines.ask('2');
    void engines.ask('3');
    engines.batches[0].end();
    await sleep(0);
    engines.batches[1].end();
    await sleep(0);
    // Two decoded together: a third request waits for a fourth, which comes.
    void engines.ask('4');
    expect(engines.batches).toHaveLength(2);
    void engines.ask('5');
    expect(engines.ids[2]).toEqual(['4', '5']);
    engines.batches[2].end();
    await sleep(0);
    // Nobody comes: the wait ends.
    void engines.ask('6');
    expect(engines.batches).toHaveLength(3);
    await sleep(80);
    expect(engines.ids[3]).toEqual(['6']);
    engines.batches[3].end();
    await sleep(80);
    // All is quiet: no waiting.
    void engines.ask('7');
    expect(engines.ids[4]).toEqual(['7']);
  });
});

describe('requests that do not get an answer', () => {
  it('are refused beyond the limit, and told when to come again', async () => {
    const engines = new HeldEngines(1, { queueLimit: 2 });
    const first = engines.ask('1');
    void engines.ask('2');
    expect(() => engines.ask('3')).toThrow(
      expect.objectContaining({ code: 'ESP_OVERLOADED', statusCode: 503, retryAfterSeconds: 1 }),
    );
    expect(engines.refusals).toEqual(['queue']);
    engines.batches[0].end();
    await first;
    void engines.ask('3');
    expect(engines.batcher.length).toBe(2);
  });

  it('are refused at once where those before them leave no time, and taken where they do', async () => {
    const engines = new HeldEngines(1, { maxRowsOf: () => 10 });
    await engines.decodeFor(100);
    const within = (ms: number) => ({ deadlineAtMs: monotonicMs() + ms });
    // An idle engine always tries.
    const tried = engines.ask('tried', within(50));
    const behind = engines.ask('behind', within(60_000));
    // 100 ms each: those two and its own.
    expect(() => engines.ask('late', within(250))).toThrow(
      expect.objectContaining({ code: 'ESP_OVERLOADED', retryAfterSeconds: 1 }),
    );
    const patient = engines.ask('patient', within(60_000));
    expect(engines.refusals).toEqual(['deadline']);
    await expect(tried).rejects.toMatchObject({ code: 'ESP_TIMEOUT' });
    for (const batch of [1, 2, 3]) {
      engines.batches[batch].end();
      await sleep(0);
    }
    expect((await behind).unknownItems).toEqual(['behind']);
    expect((await patient).unknownItems).toEqual(['patient']);
    expect(engines.batcher.length).toBe(0);
  });

  it('are not refused for being wider than those before, nor taken where wide ones took long', async () => {
    const engines = new HeldEngines(1);
    for (let batch = 0; batch < 3; batch++) await engines.decodeFor(20, 1);
    const within = (ms: number) => ({
      beamWidth: 100,
      deadlineAtMs: monotonicMs() + ms,
    });
    // 20 ms each, as far as anybody knows: by the row it would be 2 s each.
    const wide = ['1', '2', '3', '4'].map((id) => engines.ask(id, within(1_000)));
    expect(engines.refusals).toEqual([]);
    for (let batch = 3; batch < 7; batch++) {
      await sleep(60);
      engines.batches[batch].end();
    }
    await Promise.all(wide);
    // Now it is known that a wide one takes 60 ms: one that is decoded, and its own.
    void engines.ask('5', within(60_000));
    expect(() => engines.ask('6', within(120))).toThrow(expect.objectContaining({ code: 'ESP_OVERLOADED' }));
    // And a narrow one does not.
    void engines.ask('7', { ...within(600), beamWidth: 1 });
    expect(engines.refusals).toEqual(['deadline']);
  });

  it('make room once they are too late, and the last one is tried all the same', async () => {
    const engines = new HeldEngines(1, { maxRowsOf: () => 10 });
    await engines.decodeFor(300);
    const within = (ms: number) => ({ deadlineAtMs: monotonicMs() + ms });
    const decoding = engines.ask('decoding');
    const late = engines.ask('late', within(1_500));
    const last = engines.ask('last', within(1_500));
    await sleep(1_250);
    engines.batches[1].end();
    await decoding;
    await expect(late).rejects.toMatchObject({ code: 'ESP_OVERLOADED' });
    expect(engines.ids.slice(2)).toEqual([['last']]);
    engines.batches[2].end();
    expect((await last).unknownItems).toEqual(['last']);
  });

  it('do not count as work that lies ahead once they have left', async () => {
    const engines = new HeldEngines(1, { maxRowsOf: () => 10 });
    await engines.decodeFor(100);
    void engines.ask('decoding');
    const gone = new AbortController();
    const left = [1, 2, 3].map((id) => engines.ask(`${id}`, { signal: gone.signal }));
    const ask = () => engines.ask('next', { deadlineAtMs: monotonicMs() + 600 });
    expect(ask).toThrow(expect.objectContaining({ code: 'ESP_OVERLOADED' }));
    gone.abort();
    await Promise.allSettled(left);
    ask().catch(() => {});
    expect(engines.batcher.length).toBe(2);
  });

  it('end at their deadline, in the queue and in a batch', async () => {
    const engines = new HeldEngines(1);
    const soon = () => ({ deadlineAtMs: monotonicMs() + 20 });
    const decoding = engines.ask('decoding', soon());
    const waiting = engines.ask('waiting', soon());
    const patient = engines.ask('patient');
    await expect(decoding).rejects.toMatchObject({ code: 'ESP_TIMEOUT' });
    await expect(waiting).rejects.toMatchObject({ code: 'ESP_TIMEOUT' });
    expect(engines.cancelled).toEqual(['decoding']);
    engines.batches[0].end();
    await sleep(0);
    engines.batches[1].end();
    await patient;
    expect(engines.ids).toEqual([['decoding'], ['patient']]);
  });

  it('leave when nobody waits for them: the queue, the batch, or before they begin', async () => {
    const engines = new HeldEngines(1);
    const controllers = [0, 1, 2].map(() => new AbortController());
    controllers[2].abort();
    const decoding = engines.ask('decoding', { signal: controllers[0].signal });
    const waiting = engines.ask('waiting', { signal: controllers[1].signal });
    expect(() => engines.ask('gone', { signal: controllers[2].signal })).toThrow('cancelled');
    controllers[0].abort();
    controllers[1].abort();
    await expect(decoding).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
    await expect(waiting).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
    expect(engines.cancelled).toEqual(['decoding']);
    engines.batches[0].end();
    await sleep(0);
    expect(engines.batches).toHaveLength(1);
  });

  it('share the fate of their batch, and of no other', async () => {
    const engines = new HeldEngines(2);
    const lost = engines.ask('1');
    const kept = engines.ask('2');
    engines.batches[0].end(new EspalierError('ESP_ENGINE_FAILED', 'it failed'));
    engines.batches[1].end();
    await expect(lost).rejects.toMatchObject({ code: 'ESP_ENGINE_FAILED' });
    expect((await kept).unknownItems).toEqual(['2']);
    expect(engines.batcher.length).toBe(0);
  });
});
