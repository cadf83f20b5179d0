/** SIDs to measure on; the same for the same seed. */
export const sidShapes = ['uniform', 'skewed', 'real-shaped'] as const;
export type SidShape = (typeof sidShapes)[number];

export interface SidOptions {
  rowCount: number;
  /** Of every level. */
  codebookSize: number;
  levels: number;
  seed?: number;
}

/** [rowCount, levels] */
export type SidCodes = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/**
 * Codes below `codebookSize`, u32 where they need it.
 * - uniform: independent and uniform, as the paper's benchmark has them
 * - skewed: code = size · u^3, a heavy head at every level; every twentieth row is a copy of an earlier one
 * - real-shaped: most rows go on from a prefix of another's, as in published item → SID files: nodes of very different
 *   sizes, chains of single children below, and about 3 % of the rows a copy of another. Those files have some
 *   thousand items; of millions the upper levels are fuller than theirs
 */
export function makeSids(
  shape: SidShape,
  { rowCount, codebookSize, levels, seed = 42 }: SidOptions,
): SidCodes {
  const length = rowCount * levels;
  const codes = codebookSize > 65_536 ? new Uint32Array(length) : new Uint16Array(length);
  const random = xorshift(seed + rowCount);
  if (shape === 'real-shaped') fillRealShaped(codes, { rowCount, codebookSize, levels }, random);
  else if (shape === 'skewed') fillSkewed(codes, { rowCount, codebookSize, levels }, random);
  else for (let index = 0; index < length; index++) codes[index] = Math.floor(codebookSize * random());
  return codes;
}

function fillSkewed(
  codes: SidCodes,
  { rowCount, codebookSize, levels }: SidOptions,
  random: () => number,
): void {
  for (let index = 0; index < codes.length; index++) codes[index] = Math.floor(codebookSize * random() ** 3);
  for (let row = 20; row < rowCount; row += 20) {
    const other = Math.floor(random() * row) * levels;
    codes.copyWithin(row * levels, other, other + levels);
  }
}

/** Rows that often go on from another row's prefix; the prefix is short twice in three times. */
function fillRealShaped(
  codes: SidCodes,
  { rowCount, codebookSize, levels }: SidOptions,
  random: () => number,
): void {
  for (let row = 0; row < rowCount; row++) {
    const u = row === 0 ? 0 : random();
    const kept = Math.min(
      levels,
      u < 0.3 ? 0 : u < 0.8 ? 1 : u < 0.92 ? 2 : u < 0.97 ? 3 + Math.floor(random() * 5) : levels,
    );
    const other = kept === 0 ? 0 : Math.floor(random() * row);
    for (let level = 0; level < levels; level++) {
      codes[row * levels + level] =
        level < kept ? codes[other * levels + level] : Math.floor(codebookSize * random());
    }
  }
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
