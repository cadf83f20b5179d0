import type { TrieArrays } from '../kernels/index.js';

/** The rank of a SID's leaf, or -1 where no item has it. @param sid of any length; one too short or long is none. */
export function findLeaf({ rows, leafCount, levelCount }: TrieArrays, sid: ArrayLike<number>): number {
  if (sid.length !== levelCount) return -1;
  let low = 0;
  let high = leafCount;
  while (low < high) {
    const middle = low + ((high - low) >>> 1);
    if (compareWithRow(rows, middle * levelCount, sid) > 0) low = middle + 1;
    else high = middle;
  }
  return low < leafCount && compareWithRow(rows, low * levelCount, sid) === 0 ? low : -1;
}

function compareWithRow(rows: ArrayLike<number>, start: number, sid: ArrayLike<number>): number {
  for (let level = 0; level < sid.length; level++) {
    const difference = sid[level] - rows[start + level];
    if (difference !== 0) return difference;
  }
  return 0;
}
