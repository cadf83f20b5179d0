import type { RowCodes } from '../../src/kernels/index.js';
import type { SidRows } from '../../src/static-trie/index.js';
import type { Random } from './random.js';

const codeArrays = [Uint8Array, Uint16Array, Uint32Array, Int32Array, BigInt64Array] as const;

/** SIDs of every shape that the two paths of the builder tell apart, in every type that holds them. */
export function randomRows(random: Random): SidRows {
  const levelCount = random.pick([1, 2, 3, 4, 5, 8, 9, 16, 31, 32]);
  const oneSize = random.pick([2, 50, 770, 2048, 65_536, 100_000, 262_144]);
  const isUnequal = random.chance(0.4);
  const codebookSizes = Array.from({ length: levelCount }, () =>
    isUnequal ? random.pick([1, 2, 3, 50, 256, 770, 65_536, 65_537, 100_000]) : oneSize,
  );
  const rowCount = 1 + random.below(random.pick([1, 3, 63, 64, 65, 300, 5000]));
  // Few codes in use make whole SIDs meet; many make chains.
  const used = codebookSizes.map((size) => Math.min(size, random.pick([1, 2, 3, 1000, size])));
  const rows = Array.from({ length: rowCount }, () =>
    codebookSizes.map((size, level) => {
      const code = random.below(used[level]);
      return random.chance(0.5) ? code : size - 1 - code;
    }),
  );
  const largest = Math.max(...codebookSizes) - 1;
  const fitting = codeArrays
    .filter((type) => type !== Uint8Array || largest < 256)
    .filter((type) => type !== Uint16Array || largest < 65_536);
  const type = random.pick(fitting);
  const flat = rows.flat();
  const codes =
    type === BigInt64Array ? BigInt64Array.from(flat, BigInt) : (type as typeof Int32Array).from(flat);
  return { codebookSizes, rowCount, codes: codes as RowCodes };
}
