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

/** A copy of one row, which keeps no other row in memory. */
export function copyOfRow({ data, vocabSize }: LogitRows, row: number): Float32Array {
  return data.slice(row * vocabSize, (row + 1) * vocabSize);
}
