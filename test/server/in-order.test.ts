import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { inOrder } from '../../src/server/rpc/in-order.js';

async function* from<T>(...values: T[]): AsyncGenerator<T> {
  yield* values;
}

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of results) values.push(value);
  return values;
}

describe('inOrder', () => {
  it('gives results in the order of what came, whatever ends first', async () => {
    const results = inOrder(from(30, 1, 10, 0), (ms) => delay(ms, ms), 4);
    expect(await all(results)).toEqual([30, 1, 10, 0]);
  });

  it('works on no more than the limit, and reads no further', async () => {
    let running = 0;
    let most = 0;
    const work = async (value: number) => {
      most = Math.max(most, ++running);
      await delay(1);
      running -= 1;
      return value;
    };
    const values = Array.from({ length: 20 }, (_, index) => index);
    expect(await all(inOrder(from(...values), work, 3))).toEqual(values);
    expect(most).toBe(3);
  });

  it('gives a result before the next input has come', async () => {
    async function* slow() {
      yield 1;
      await new Promise(() => {});
    }
    const results = inOrder(slow(), async (value) => value, 4);
    expect(await results.next()).toEqual({ value: 1, done: false });
  });

  it('fails with the first result that fails, in its turn', async () => {
    const work = async (value: number) => {
      if (value === 2) throw new Error('two');
      return delay(5, value);
    };
    const results = inOrder(from(1, 2, 3), work, 4);
    expect((await results.next()).value).toBe(1);
    await expect(results.next()).rejects.toThrow('two');
  });
});
