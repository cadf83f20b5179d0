import { describe, expect, it } from 'vitest';
import type { Prefill } from '../../src/decoder/contracts/contract.js';
import type { Model } from '../../src/decoder/model.js';
import { PrefillCache } from '../../src/decoder/prefill-cache.js';

const BYTES = 1_000_000;
/** A budget for so many histories, with room for their keys and objects. */
const roomFor = (histories: number) => (histories + 0.5) * BYTES;
const countOf = (cache: PrefillCache) => Math.floor(cache.bytes / BYTES);

/** A model that notes what it reads; each history costs BYTES, and those that begin with 9 cost ten times as much. */
function noting(): { model: Model; reads: string[] } {
  const reads: string[] = [];
  const model = {
    async prefill(histories: readonly (readonly number[])[]): Promise<Prefill[]> {
      return histories.map((tokens) => {
        reads.push(tokens.join());
        return {
          logits: Float32Array.from(tokens),
          bytes: tokens[0] === 9 ? 10 * BYTES : BYTES,
          length: tokens.length,
        };
      });
    },
  };
  return { model: model as unknown as Model, reads };
}

const read = ({ prefills }: { prefills: Prefill[] }) => prefills.map(({ logits }) => [...logits]);

describe('kept histories', () => {
  it('are not read again, and come in the order that was asked for', async () => {
    const cache = new PrefillCache(roomFor(10));
    const { model, reads } = noting();
    expect((await cache.prefill(model, [[1], [2]])).hits).toBe(0);
    const found = await cache.prefill(model, [[3], [2], [1, 2], [1]]);
    expect(read(found)).toEqual([[3], [2], [1, 2], [1]]);
    expect(found.hits).toBe(2);
    expect(reads).toEqual(['1', '2', '3', '1,2']);
    expect(countOf(cache)).toBe(4);
  });

  it('are read once where they come twice in a batch', async () => {
    const cache = new PrefillCache(0);
    const { model, reads } = noting();
    const found = await cache.prefill(model, [[1], [2], [1]]);
    expect(read(found)).toEqual([[1], [2], [1]]);
    expect(found.hits).toBe(1);
    expect(reads).toEqual(['1', '2']);
  });

  it('stay within the budget, and the least recently used go first', async () => {
    const cache = new PrefillCache(roomFor(3));
    const { model, reads } = noting();
    await cache.prefill(model, [[1], [2], [3]]);
    await cache.prefill(model, [[1]]);
    await cache.prefill(model, [[4]]);
    expect(countOf(cache)).toBe(3);
    await cache.prefill(model, [[1], [3], [4]]);
    expect(reads).toEqual(['1', '2', '3', '4']);
    await cache.prefill(model, [[2]]);
    expect(reads.at(-1)).toBe('2');
    // 1 was the oldest of the three then.
    expect((await cache.prefill(model, [[3], [4]])).hits).toBe(2);
    expect((await cache.prefill(model, [[1]])).hits).toBe(0);
    expect(countOf(cache)).toBe(3);
  });

  it('that cost more than the budget are not kept, and drive nothing out', async () => {
    const cache = new PrefillCache(roomFor(3));
    const { model } = noting();
    await cache.prefill(model, [[1]]);
    await cache.prefill(model, [[9]]);
    expect(countOf(cache)).toBe(1);
    expect((await cache.prefill(model, [[9]])).hits).toBe(0);
    expect((await cache.prefill(model, [[1]])).hits).toBe(1);
  });

  it('are answered in full where a batch is larger than the budget', async () => {
    const cache = new PrefillCache(roomFor(2));
    const { model } = noting();
    await cache.prefill(model, [[1], [2]]);
    const found = await cache.prefill(model, [[1], [3], [4], [5], [2]]);
    expect(read(found)).toEqual([[1], [3], [4], [5], [2]]);
    expect(countOf(cache)).toBe(2);
  });

  it('belong to one model, and go with it', async () => {
    const cache = new PrefillCache(roomFor(10));
    const first = noting();
    const second = noting();
    await cache.prefill(first.model, [[1], [2]]);
    await cache.prefill(second.model, [[1]]);
    expect(second.reads).toEqual(['1']);
    cache.forget(first.model);
    expect(countOf(cache)).toBe(1);
    expect((await cache.prefill(second.model, [[1]])).hits).toBe(1);
    expect((await cache.prefill(first.model, [[1]])).hits).toBe(0);
  });

  it('are none with a budget of 0, and none of a model that fails', async () => {
    const none = new PrefillCache(0);
    const { model, reads } = noting();
    await none.prefill(model, [[1]]);
    expect((await none.prefill(model, [[1]])).hits).toBe(0);
    expect(reads).toEqual(['1', '1']);
    expect(none.bytes).toBe(0);
    const cache = new PrefillCache(roomFor(10));
    const failing = { prefill: () => Promise.reject(new Error('no')) } as unknown as Model;
    await expect(cache.prefill(failing, [[1]])).rejects.toThrow('no');
    expect(cache.bytes).toBe(0);
  });

  it('count with their keys and their objects: small ones keep the budget, too', async () => {
    const budget = 1 << 20;
    const cache = new PrefillCache(budget);
    const model = {
      prefill: async (histories: readonly (readonly number[])[]) =>
        histories.map(() => ({ logits: Float32Array.of(1), bytes: 4, length: 300 })),
    } as unknown as Model;
    const histories = Array.from({ length: 1000 }, (_, one) => new Array<number>(300).fill(1000 + one));
    await cache.prefill(model, histories);
    expect(cache.bytes).toBeLessThanOrEqual(budget);
    // 1,501 characters of key; an object of its own, two arrays and a place in a map are no less than 500 bytes.
    const { hits } = await cache.prefill(model, histories.slice(-100));
    expect(hits).toBe(100);
    const most = budget / (1500 + 500);
    expect((await cache.prefill(model, histories.slice(0, 1000 - most))).hits).toBe(0);
    cache.forget(model);
    expect(cache.bytes).toBe(0);
  });
});
