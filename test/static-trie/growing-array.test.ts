import { describe, expect, it } from 'vitest';
import { GrowingArray } from '../../src/static-trie/growing-array.js';

describe('a growing array', () => {
  it('keeps what was pushed', () => {
    const numbers = new GrowingArray(Uint16Array);
    expect(numbers.view()).toEqual(new Uint16Array(0));
    for (let number = 0; number < 5_000; number++) numbers.push(number);
    expect(numbers.length).toBe(5_000);
    expect(numbers.at(4_321)).toBe(4_321);
    expect(numbers.view()).toEqual(Uint16Array.from({ length: 5_000 }, (_, index) => index));
  });

  it('answers a lack of memory with a typed error', () => {
    class FewNumbers extends Uint8Array {
      constructor(length: number) {
        if (length > 4_096) throw new RangeError('Array buffer allocation failed');
        super(length);
      }
    }
    const numbers = new GrowingArray(FewNumbers);
    for (let number = 0; number < 4_096; number++) numbers.push(1);
    expect(() => numbers.push(1)).toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
  });
});
