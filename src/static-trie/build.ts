import { EspalierError } from '../errors.js';
import {
  type LeafItems,
  type RowCodes,
  setBit,
  type TopLevel,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';
import { buildChildMasks, childMaskBudget } from './child-masks.js';

/** Codebooks beyond this need u32 rows. */
const MAX_U16_CODEBOOK = 65_536;
export const MAX_CODEBOOK_SIZE = 262_144;
export const MAX_LEVELS = 32;
/** Rows and leaves are numbered in 32 bits, and one number more must fit. */
export const MAX_ROWS = 2 ** 32 - 2;

/** SIDs in any order, with duplicates: [rowCount, levelCount] codes, row by row. */
export interface SidRows {
  codebookSizes: readonly number[];
  rowCount: number;
  codes: RowCodes;
}

export interface BuiltTrie {
  trie: TrieArrays;
  /** [rowCount]: the input rows in the order of their SIDs; equal SIDs keep the input's order. */
  sortedRows: Uint32Array;
  /** Which positions of `sortedRows` lie on which leaf; its shared leaves are the collisions. */
  leafItems: LeafItems;
}

/** [rowCount]: the leaf rank of each input row. */
export function leafRanksOfRows({ sortedRows, leafItems }: BuiltTrie): Uint32Array {
  const ranks = new Uint32Array(sortedRows.length);
  let shared = 0;
  let item = 0;
  for (let leaf = 0; leaf < leafItems.leafCount; leaf++) {
    let end = item + 1;
    if (leafItems.sharedLeaves[shared] === leaf) {
      end = item + leafItems.sharedStart[shared + 1] - leafItems.sharedStart[shared];
      shared++;
    }
    for (; item < end; item++) ranks[sortedRows[item]] = leaf;
  }
  return ranks;
}

/**
 * Flattens SIDs into a static trie: sorts them, drops duplicates, and marks where each node begins.
 * Clear rather than fast; it is the reference for the native builder.
 * @throws EspalierError ESP_SHAPE on rows that don't fit the codebooks.
 */
export function buildStaticTrie(given: SidRows): BuiltTrie {
  const rows = checkRows(given);
  const levelCount = rows.codebookSizes.length;
  const sortedRows = sortRows(rows);

  // The first level at which each sorted row differs from the one before; levelCount for duplicates.
  const firstDifference = new Uint8Array(rows.rowCount);
  let leafCount = 0;
  for (let rank = 0; rank < rows.rowCount; rank++) {
    const row = sortedRows[rank];
    const level = rank === 0 ? 0 : differingLevel(rows.codes, levelCount, sortedRows[rank - 1], row);
    firstDifference[rank] = level;
    if (level < levelCount) leafCount++;
  }

  const leaves = new (wideRows(rows.codebookSizes) ? Uint32Array : Uint16Array)(leafCount * levelCount);
  const newPrefix = rows.codebookSizes.map(() => new Uint32Array(wordsFor(leafCount + 1)));
  let leaf = 0;
  for (let rank = 0; rank < rows.rowCount; rank++) {
    if (firstDifference[rank] === levelCount) continue;
    const start = sortedRows[rank] * levelCount;
    leaves.set(rows.codes.subarray(start, start + levelCount), leaf * levelCount);
    for (let level = firstDifference[rank]; level < levelCount; level++) setBit(newPrefix[level], leaf);
    leaf++;
  }
  for (const bits of newPrefix) setBit(bits, leafCount);

  const topLevels = explicitTopLevels(leaves, leafCount, levelCount, newPrefix);
  const trie = {
    leafCount,
    levelCount,
    codebookSizes: rows.codebookSizes,
    rows: leaves,
    newPrefix,
    topLevels,
    childMasks: buildChildMasks(topLevels, rows.codebookSizes, childMaskBudget(rows.rowCount)),
  };
  return { trie, sortedRows, leafItems: findSharedLeaves(firstDifference, levelCount, leafCount) };
}

/** Rows that differ from the one before at no level share its leaf. */
function findSharedLeaves(firstDifference: Uint8Array, levelCount: number, leafCount: number): LeafItems {
  const sharedLeaves: number[] = [];
  const sharedStart = [0];
  let leaf = -1;
  for (const level of firstDifference) {
    if (level < levelCount) leaf++;
    else if (sharedLeaves.at(-1) === leaf) sharedStart[sharedStart.length - 1]++;
    else {
      sharedLeaves.push(leaf);
      sharedStart.push(sharedStart[sharedStart.length - 1] + 2);
    }
  }
  return {
    itemCount: firstDifference.length,
    leafCount,
    sharedLeaves: Uint32Array.from(sharedLeaves),
    sharedStart: Uint32Array.from(sharedStart),
  };
}

export function wideRows(codebookSizes: readonly number[]): boolean {
  return codebookSizes.some((size) => size > MAX_U16_CODEBOOK);
}

/** Row numbers in lexicographic order: one stable counting sort for each level, the last level first. */
function sortRows({ codebookSizes, rowCount, codes }: CheckedRows): Uint32Array {
  const levelCount = codebookSizes.length;
  let order = Uint32Array.from({ length: rowCount }, (_, row) => row);
  let next = new Uint32Array(rowCount);
  for (let level = levelCount - 1; level >= 0; level--) {
    const position = new Uint32Array(codebookSizes[level] + 1);
    for (let row = 0; row < rowCount; row++) position[codes[row * levelCount + level] + 1]++;
    for (let code = 0; code < codebookSizes[level]; code++) position[code + 1] += position[code];
    for (const row of order) next[position[codes[row * levelCount + level]]++] = row;
    [order, next] = [next, order];
  }
  return order;
}

function differingLevel(codes: CheckedRows['codes'], levelCount: number, rowA: number, rowB: number): number {
  let level = 0;
  while (level < levelCount && codes[rowA * levelCount + level] === codes[rowB * levelCount + level]) level++;
  return level;
}

/**
 * Levels 0 and 1 as explicit nodes. Below them real tries are almost chains, and explicit nodes would spend
 * most of their bytes on nodes with one child.
 */
function explicitTopLevels(
  leaves: Uint16Array | Uint32Array,
  leafCount: number,
  levelCount: number,
  newPrefix: readonly Uint32Array[],
): TopLevel[] {
  const levels = newPrefix.slice(0, 2).map((bits, level) => {
    const starts: number[] = [];
    for (let leaf = 0; leaf <= leafCount; leaf++) {
      if ((bits[leaf >>> 5] >>> (leaf & 31)) & 1) starts.push(leaf);
    }
    const leafStart = Uint32Array.from(starts);
    const codes = new (leaves.constructor as Uint16ArrayConstructor)(starts.length - 1);
    codes.forEach((_, node) => {
      codes[node] = leaves[leafStart[node] * levelCount + level];
    });
    return { codes, leafStart, firstChild: null as Uint32Array | null };
  });
  if (levels.length === 2) levels[0].firstChild = firstChildren(levels[0].leafStart, levels[1].leafStart);
  return levels;
}

/** A node's first child is the node of the next level that begins at the same leaf. */
function firstChildren(parentStarts: Uint32Array, childStarts: Uint32Array): Uint32Array {
  let child = 0;
  return parentStarts.map((leaf) => {
    while (childStarts[child] < leaf) child++;
    return child;
  });
}

/** Rows whose codes are numbers within their codebooks. */
interface CheckedRows extends SidRows {
  codes: Uint16Array | Uint32Array;
}

function checkRows({ codebookSizes, rowCount, codes }: SidRows): CheckedRows {
  const levelCount = codebookSizes.length;
  if (levelCount < 1 || levelCount > MAX_LEVELS)
    fail(`levels must be 1 to ${MAX_LEVELS}, found ${levelCount}`);
  for (const size of codebookSizes) {
    if (!Number.isInteger(size) || size < 1 || size > MAX_CODEBOOK_SIZE) {
      fail(`codebook sizes must be 1 to ${MAX_CODEBOOK_SIZE}, found ${size}`);
    }
  }
  if (codes.length !== rowCount * levelCount) {
    fail(
      `${rowCount} rows of ${levelCount} codes need ${rowCount * levelCount} entries, found ${codes.length}`,
    );
  }
  if (rowCount < 1 || rowCount > MAX_ROWS) fail(`rows must be 1 to ${MAX_ROWS}, found ${rowCount}`);
  for (let index = 0; index < codes.length; index++) {
    const size = codebookSizes[index % levelCount];
    const code = codes[index];
    if (code < 0 || code >= size) {
      const row = Math.floor(index / levelCount);
      const expected = code < 0 ? `from 0 to ${size - 1}` : `< codebook size ${size}`;
      fail(`row ${row}, level ${index % levelCount}: code ${code} must be ${expected}`);
    }
  }
  const isCode = codes instanceof Uint16Array || codes instanceof Uint32Array;
  return { codebookSizes, rowCount, codes: isCode ? codes : Uint32Array.from(codes as Int32Array, Number) };
}

function fail(message: string): never {
  throw new EspalierError('ESP_SHAPE', message);
}
