import { describe, expect, it } from 'vitest';
import type { Prefill } from '../../src/decoder/contracts/contract.js';
import type { Model } from '../../src/decoder/model.js';
import { PrefillCache } from '../../src/decoder/prefill-cache.js';

const BYTES = 100;

/** A model that notes what it reads; each history costs 100 bytes, and those that begin with 9 cost 1,000. */
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
    const cache = new PrefillCache(10 * BYTES);
    const { model, reads } = noting();
    expect((await cache.prefill(model, [[1], [2]])).hits).toBe(0);
    const found = await cache.prefill(model, [[3], [2], [1, 2], [1]]);
    expect(read(found)).toEqual([[3], [2], [1, 2], [1]]);
    expect(found.hits).toBe(2);
    expect(reads).toEqual(['1', '2', '3', '1,2']);
    expect(cache.bytes).toBe(4 * BYTES);
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
    const cache = new PrefillCache(3 * BYTES);
    const { model, reads } = noting();
    await cache.prefill(model, [[1], [2], [3]]);
    await cache.prefill(model, [[1]]);
    await cache.prefill(model, [[4]]);
    expect(cache.bytes).toBe(3 * BYTES);
    await cache.prefill(model, [[1], [3], [4]]);
    expect(reads).toEqual(['1', '2', '3', '4']);
    await cache.prefill(model, [[2]]);
    expect(reads.at(-1)).toBe('2');
    // 1 was the oldest of the three then.
    expect((await cache.prefill(model, [[3], [4]])).hits).toBe(2);
    expect((await cache.prefill(model, [[1]])).hits).toBe(0);
    expect(cache.bytes).toBe(3 * BYTES);
  });

  it('that cost more than the budget are not kept, and drive nothing out', async () => {
    const cache = new PrefillCache(3 * BYTES);
    const { model } = noting();
    await cache.prefill(model, [[1]]);
    await cache.prefill(model, [[9]]);
    expect(cache.bytes).toBe(BYTES);
    expect((await cache.prefill(model, [[9]])).hits).toBe(0);
    expect((await cache.prefill(model, [[1]])).hits).toBe(1);
  });

  it('are answered in full where a batch is larger than the budget', async () => {
    const cache = new PrefillCache(2 * BYTES);
    const { model } = noting();
    await cache.prefill(model, [[1], [2]]);
    const found = await cache.prefill(model, [[1], [3], [4], [5], [2]]);
    expect(read(found)).toEqual([[1], [3], [4], [5], [2]]);
    expect(cache.bytes).toBe(2 * BYTES);
  });

  it('belong to one model, and go with it', async () => {
    const cache = new PrefillCache(10 * BYTES);
    const first = noting();
    const second = noting();
    await cache.prefill(first.model, [[1], [2]]);
    await cache.prefill(second.model, [[1]]);
    expect(second.reads).toEqual(['1']);
    cache.forget(first.model);
    expect(cache.bytes).toBe(BYTES);
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
    const cache = new PrefillCache(10 * BYTES);
    const failing = { prefill: () => Promise.reject(new Error('no')) } as unknown as Model;
    await expect(cache.prefill(failing, [[1]])).rejects.toThrow('no');
    expect(cache.bytes).toBe(0);
  });
});
