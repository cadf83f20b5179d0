import { freeMemory } from '../free-memory.js';
import type { TensorValue } from '../onnx-graph.js';

/** float32 [rows, vocabSize]: each row's last position, from [rows, vocab] or [rows, sequence, vocab]. */
export interface LogitRows {
  data: Float32Array;
  vocabSize: number;
}

/** Of a tensor with one position for each row this is the tensor's own memory, else a copy. */
export function lastPositions({ data, dims }: TensorValue<Float32Array>): LogitRows {
  const vocabSize = dims[dims.length - 1];
  if (dims.length === 2 || dims[1] === 1) return { data, vocabSize };
  const [rows, positions] = dims;
  const last = new Float32Array(rows * vocabSize);
  for (let row = 0; row < rows; row++) {
    const start = (row * positions + positions - 1) * vocabSize;
    last.set(data.subarray(start, start + vocabSize), row * vocabSize);
  }
  return { data: last, vocabSize };
}

/** Each row's last position, float32 [vocabSize], in memory of its own. That of the tensor is freed. */
export function takeLastPositions({ data, dims }: TensorValue<Float32Array>): Float32Array[] {
  const vocabSize = dims[dims.length - 1];
  const rows = dims[0];
  const size = data.length / rows;
  const last = Array.from({ length: rows }, (_, row) => {
    const end = (row + 1) * size;
    return data.slice(end - vocabSize, end);
  });
  freeMemory(data);
  return last;
}
