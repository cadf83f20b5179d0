import { markAsUntransferable } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { freeMemory } from '../../src/decoder/free-memory.js';

const SIZE = 2 ** 24;

it('frees memory at once', () => {
  const before = process.memoryUsage().arrayBuffers;
  for (let count = 0; count < 10; count++) {
    const array = new Float32Array(SIZE / 4);
    const view = array.subarray(1);
    freeMemory(view);
    expect([array.length, view.length]).toEqual([0, 0]);
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(SIZE);
});

it('leaves memory alone that others own', () => {
  const bytes = new Uint8Array(100).fill(7);
  markAsUntransferable(bytes.buffer);
  freeMemory(bytes);
  expect(bytes.at(-1)).toBe(7);
});
