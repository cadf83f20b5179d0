/** So many tokens in one run fill the cores; more in one run only take memory. */
const MAX_RUN_TOKENS = 2048;

/**
 * Reads histories together where they are equally long, so that none needs padding, nor the graph a mask. Short
 * ones take less than half the time in one run, long ones nearly as long as one by one (bench/model.ts).
 * @param read reads rows of equal length, and returns what it made of each, in their order.
 */
export async function inEqualLengths<Result>(
  histories: readonly (readonly number[])[],
  read: (tokens: Uint32Array, rows: number) => Promise<Result[]>,
): Promise<Result[]> {
  const indicesByLength = new Map<number, number[]>();
  histories.forEach(({ length }, index) => {
    const indices = indicesByLength.get(length);
    if (indices === undefined) indicesByLength.set(length, [index]);
    else indices.push(index);
  });
  const results = new Array<Result>(histories.length);
  for (const [length, indices] of indicesByLength) {
    const runRows = Math.max(1, Math.floor(MAX_RUN_TOKENS / length));
    for (let start = 0; start < indices.length; start += runRows) {
      const run = indices.slice(start, start + runRows);
      const tokens = new Uint32Array(run.length * length);
      run.forEach((index, row) => {
        tokens.set(histories[index], row * length);
      });
      const found = await read(tokens, run.length);
      run.forEach((index, row) => {
        results[index] = found[row];
      });
    }
  }
  return results;
}
