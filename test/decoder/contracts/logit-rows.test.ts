import { describe, expect, it } from 'vitest';
import { lastPositions, takeLastPositions } from '../../../src/decoder/contracts/logit-rows.js';

const SHAPES = [
  { dims: [2, 3], values: [0, 1, 2, 3, 4, 5], rows: [0, 1, 2, 3, 4, 5] },
  { dims: [2, 1, 3], values: [0, 1, 2, 3, 4, 5], rows: [0, 1, 2, 3, 4, 5] },
  { dims: [2, 3, 2], values: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], rows: [4, 5, 10, 11] },
];

describe.each(SHAPES)('logits of shape $dims', ({ dims, values, rows }) => {
  it('are read at the last position of each row', () => {
    const { data, vocabSize } = lastPositions({ data: Float32Array.from(values), dims });
    expect({ data: [...data], vocabSize }).toEqual({ data: rows, vocabSize: dims.at(-1) });
  });

  it('are taken, and their memory is free', () => {
    const data = Float32Array.from(values);
    const last = takeLastPositions({ data, dims });
    expect(last).toHaveLength(2);
    expect(last.flatMap((row) => [...row])).toEqual(rows);
    expect(data.buffer.byteLength).toBe(0);
  });
});
