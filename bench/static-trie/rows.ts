/** SIDs to measure on; the same for the same seed. */
export type RowKind = 'uniform' | 'skewed' | 'real-shaped';

const LEVELS = 8;

/**
 * [rowCount, 8] codes below `codebookSize`.
 * - uniform: independent and uniform, as the paper's benchmark has them
 * - skewed: code = size · u^3, a heavy head at every level; every twentieth row is a copy of an earlier one
 * - real-shaped: shared prefixes and chains as in published item → SID files: many children at levels 0 and 1,
 *   then about 1.4 and 1.1, and about 3 % of the rows a copy of another
 */
export function makeRows(kind: RowKind, rowCount: number, codebookSize: number): Uint16Array<ArrayBuffer> {
  const codes = new Uint16Array(new ArrayBuffer(rowCount * LEVELS * 2));
  const random = xorshift(42 + rowCount);
  if (kind === 'real-shaped') return fillRealShaped(codes, rowCount, codebookSize, random);
  for (let index = 0; index < codes.length; index++) {
    const u = random();
    codes[index] = Math.floor(codebookSize * (kind === 'uniform' ? u : u * u * u));
  }
  for (let row = 20; kind === 'skewed' && row < rowCount; row += 20) {
    const other = Math.floor(random() * row) * LEVELS;
    codes.copyWithin(row * LEVELS, other, other + LEVELS);
  }
  return codes;
}

/** Rows that often go on from another row's prefix; the prefix is short twice in three times. */
function fillRealShaped(
  codes: Uint16Array<ArrayBuffer>,
  rowCount: number,
  codebookSize: number,
  random: () => number,
): Uint16Array<ArrayBuffer> {
  for (let row = 0; row < rowCount; row++) {
    const u = random();
    const kept =
      row === 0 || u < 0.3 ? 0 : u < 0.8 ? 1 : u < 0.92 ? 2 : u < 0.97 ? 3 + Math.floor(random() * 5) : 8;
    const other = kept === 0 ? 0 : Math.floor(random() * row);
    for (let level = 0; level < LEVELS; level++) {
      codes[row * LEVELS + level] =
        level < kept ? codes[other * LEVELS + level] : Math.floor(codebookSize * random());
    }
  }
  return codes;
}

/** xorshift32, as doubles in [0, 1). */
function xorshift(seed: number): () => number {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x1234567) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
