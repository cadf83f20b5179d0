import { describe, expect, it } from 'vitest';
import { Slots } from '../../src/server/bulk/slots.js';
import { inOrder } from '../../src/server/in-order.js';

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** Work that ends when it is let on. */
function gated() {
  const begun: number[] = [];
  const gates = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  const work = (input: number) =>
    new Promise<number>((resolve, reject) => {
      begun.push(input);
      gates.set(input, { resolve: () => resolve(input * 10), reject });
    });
  return { begun, gates, work };
}

async function* numbers(count: number, taken: number[] = []): AsyncGenerator<number> {
  for (let number = 0; number < count; number++) {
    taken.push(number);
    yield number;
  }
}

describe('inOrder', () => {
  it('gives outputs in the order of the inputs, whatever is done first', async () => {
    const { gates, work } = gated();
    const outputs = inOrder(numbers(3), 3, work);
    const first = outputs.next();
    await tick();
    for (const number of [2, 1, 0]) gates.get(number)!.resolve();
    expect(await first).toEqual({ done: false, value: 0 });
    const rest: number[] = [];
    for await (const output of outputs) rest.push(output);
    expect(rest).toEqual([10, 20]);
  });

  it('takes no more inputs than its limit, and none while nobody asks', async () => {
    const { begun, gates, work } = gated();
    const taken: number[] = [];
    const outputs = inOrder(numbers(100, taken), 4, work);
    await tick();
    expect(taken).toEqual([]);
    const first = outputs.next();
    for (let turn = 0; turn < 20; turn++) await tick();
    expect([begun, taken]).toEqual([
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ]);
    gates.get(0)!.resolve();
    await first;
    for (let turn = 0; turn < 20; turn++) await tick();
    expect(taken).toHaveLength(4);
  });

  it('gives what is done while the next input is waited for', async () => {
    async function* slow() {
      yield 1;
      await new Promise(() => {});
    }
    const outputs = inOrder(slow(), 4, async (input) => input);
    expect(await outputs.next()).toEqual({ done: false, value: 1 });
  });

  it('throws what the work throws, in its turn', async () => {
    const { gates, work } = gated();
    const outputs = inOrder(numbers(2), 2, work);
    const first = outputs.next();
    await tick();
    await tick();
    gates.get(1)!.reject(new Error('bad'));
    gates.get(0)!.resolve();
    expect((await first).value).toBe(0);
    await expect(outputs.next()).rejects.toThrow('bad');
  });
});

describe('slots', () => {
  it('run so many tasks at a time, the others in their order, also after one that fails', async () => {
    const slots = new Slots(2);
    const { begun, gates, work } = gated();
    const runs = [0, 1, 2, 3].map((number) => slots.run(() => work(number)).catch(() => -1));
    await tick();
    expect(begun).toEqual([0, 1]);
    gates.get(1)!.reject(new Error('bad'));
    await tick();
    expect(begun).toEqual([0, 1, 2]);
    gates.get(0)!.resolve();
    await tick();
    for (const number of [2, 3]) gates.get(number)!.resolve();
    expect(await Promise.all(runs)).toEqual([0, -1, 20, 30]);
  });
});
