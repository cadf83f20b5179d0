import type { TensorValue } from '../onnx-graph.js';

/** [requests] the row of each request's first beam, where rows are beams one after the other. */
export function firstRowsOf(counts: Uint32Array): Uint32Array {
  const firstRows = new Uint32Array(counts.length);
  for (let request = 1; request < counts.length; request++) {
    firstRows[request] = firstRows[request - 1] + counts[request - 1];
  }
  return firstRows;
}

export function totalOf(counts: Uint32Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/**
 * Gives each beam a copy of its parent's row.
 * @param from float32 [rows of the step before, …]
 * @param firstRows of the step before.
 */
export function copyRows(
  from: TensorValue<Float32Array>,
  firstRows: Uint32Array,
  counts: Uint32Array,
  parents: Uint32Array,
  into: Float32Array,
): void {
  const size = from.data.length / from.dims[0];
  let beam = 0;
  for (let request = 0; request < counts.length; request++) {
    for (const end = beam + counts[request]; beam < end; beam++) {
      const row = firstRows[request] + parents[beam];
      into.set(from.data.subarray(row * size, (row + 1) * size), beam * size);
    }
  }
}
