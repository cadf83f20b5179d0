/*
 * Building a trie from unsorted SIDs as somebody does it who has nothing but JavaScript: row numbers sorted, then one
 * list of children for each node (compressed sparse rows).
 *
 * Made fast: no object for a row or a node; rows are dealt into buckets by their first two codes, of which there may
 * be millions, so that most buckets hold a few rows, which insertion sorts without a call. Sorted rows are copied side
 * by side once, and read in their order from then on.
 */

/** SIDs in any order, with duplicates: [rowCount, levels] codes, row by row. */
export interface NumberRows {
  codebookSizes: readonly number[];
  rowCount: number;
  codes: Uint16Array | Uint32Array;
}

/** The nodes of one level, in the order of their prefixes. */
export interface CsrLevel {
  codes: Uint16Array | Uint32Array;
  /** [nodes + 1]: each node's first child on the next level; null on the last level. */
  firstChild: Uint32Array | null;
}

export interface JsBuild {
  /** [rowCount]: row numbers in the order of their SIDs; equal SIDs keep the input's order. */
  order: Uint32Array;
  levels: CsrLevel[];
  bytes: number;
}

/** More buckets than that take longer to clear than they save. */
const MOST_BUCKETS = 1 << 22;
/** Beyond it, insertion takes longer than the built-in sort. */
const MOST_INSERTED = 48;

export function buildInJs(rows: NumberRows): JsBuild {
  const order = sortRows(rows);
  const levels = levelsOf(rows, order);
  const bytes = levels.reduce(
    (sum, { codes, firstChild }) => sum + codes.byteLength + (firstChild?.byteLength ?? 0),
    0,
  );
  return { order, levels, bytes };
}

function sortRows({ rowCount, codes, codebookSizes }: NumberRows): Uint32Array {
  const levelCount = codebookSizes.length;
  const second = levelCount > 1 ? codebookSizes[1] : 1;
  const isPair = levelCount > 1 && codebookSizes[0] * second <= MOST_BUCKETS;
  const bucketCount = isPair ? codebookSizes[0] * second : codebookSizes[0];
  const start = new Uint32Array(bucketCount + 1);
  const bucketOf = (row: number) =>
    isPair ? codes[row * levelCount] * second + codes[row * levelCount + 1] : codes[row * levelCount];
  for (let row = 0; row < rowCount; row++) start[bucketOf(row) + 1]++;
  for (let bucket = 0; bucket < bucketCount; bucket++) start[bucket + 1] += start[bucket];
  // As buckets fill, each start moves to its end.
  const order = new Uint32Array(rowCount);
  for (let row = 0; row < rowCount; row++) order[start[bucketOf(row)]++] = row;

  const firstLevel = isPair ? 2 : 1;
  const compare = (a: number, b: number) => {
    for (let level = firstLevel; level < levelCount; level++) {
      const difference = codes[a * levelCount + level] - codes[b * levelCount + level];
      if (difference !== 0) return difference;
    }
    return a - b;
  };
  for (let bucket = 0, lo = 0; bucket < bucketCount; bucket++) {
    const hi = start[bucket];
    if (hi - lo > MOST_INSERTED) order.subarray(lo, hi).sort(compare);
    else insertionSort(order, lo, hi, compare);
    lo = hi;
  }
  return order;
}

function insertionSort(
  order: Uint32Array,
  lo: number,
  hi: number,
  compare: (a: number, b: number) => number,
): void {
  for (let at = lo + 1; at < hi; at++) {
    const row = order[at];
    let to = at;
    while (to > lo && compare(order[to - 1], row) > 0) {
      order[to] = order[to - 1];
      to--;
    }
    order[to] = row;
  }
}

function levelsOf({ rowCount, codes, codebookSizes }: NumberRows, order: Uint32Array): CsrLevel[] {
  const levelCount = codebookSizes.length;
  const Codes = codebookSizes.some((size) => size > 65_536) ? Uint32Array : Uint16Array;
  const sorted = new Codes(rowCount * levelCount);
  for (let rank = 0, to = 0; rank < rowCount; rank++) {
    for (let level = 0, from = order[rank] * levelCount; level < levelCount; level++) {
      sorted[to++] = codes[from++];
    }
  }
  // Where each row's first new node is; beyond the last level for copies of the row before.
  const firstNew = new Uint8Array(rowCount);
  const counts = new Uint32Array(levelCount + 1);
  for (let rank = 0; rank < rowCount; rank++) {
    const at = rank * levelCount;
    let level = 0;
    if (rank > 0)
      while (level < levelCount && sorted[at + level] === sorted[at + level - levelCount]) level++;
    firstNew[rank] = level;
    counts[level]++;
  }
  for (let level = 1; level < levelCount; level++) counts[level] += counts[level - 1];
  const levels = Array.from({ length: levelCount }, (_, level) => ({
    codes: new Codes(counts[level]),
    firstChild: level < levelCount - 1 ? new Uint32Array(counts[level] + 1) : null,
  }));
  const filled = new Uint32Array(levelCount);
  for (let rank = 0; rank < rowCount; rank++) {
    for (let level = firstNew[rank]; level < levelCount; level++) {
      const node = filled[level]++;
      levels[level].codes[node] = sorted[rank * levelCount + level];
      if (level < levelCount - 1) levels[level].firstChild![node] = filled[level + 1];
    }
  }
  for (let level = 0; level < levelCount - 1; level++)
    levels[level].firstChild![counts[level]] = counts[level + 1];
  return levels;
}
