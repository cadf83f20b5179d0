import { createHash } from 'node:crypto';
import { isBitSet, setBit, type TrieArrays, wordsFor } from '../../../src/kernels/index.js';
import type { BuiltTrie } from '../../../src/static-trie/index.js';
import type { JsBuild, NumberRows } from '../../baselines/js-build.js';

/**
 * What is wrong with a trie of these rows, found without building one: rows out of order, left out or twice, leaves
 * that are not the distinct rows, nodes that begin elsewhere.
 */
export function faultOfTrie(
  { rowCount, codes, codebookSizes }: NumberRows,
  { trie, sortedRows, leafItems }: BuiltTrie,
): string | undefined {
  const levels = codebookSizes.length;
  if (sortedRows.length !== rowCount) return `it has ${sortedRows.length} of ${rowCount} rows`;
  const seen = new Uint32Array(wordsFor(rowCount));
  let leaf = -1;
  let shared = -1;
  let onLeaf = 0;
  for (let rank = 0; rank < rowCount; rank++) {
    const row = sortedRows[rank];
    if (row >= rowCount || isBitSet(seen, row)) return `rank ${rank}: row ${row} is there twice, or none`;
    setBit(seen, row);
    const before = rank === 0 ? -1 : sortedRows[rank - 1];
    const level = rank === 0 ? 0 : differingLevel(codes, levels, before, row);
    if (rank > 0 && isOutOfOrder(codes, levels, level, before, row)) {
      return `rank ${rank}: row ${row} comes after row ${before}`;
    }
    if (level < levels) {
      leaf++;
      onLeaf = 1;
      const fault = faultOfLeaf(trie, leaf, level, codes, row);
      if (fault !== undefined) return fault;
      continue;
    }
    // The second row of a leaf makes it a shared one.
    if (++onLeaf === 2) shared++;
    if (leafItems.sharedLeaves[shared] !== leaf) {
      return `rank ${rank}: leaf ${leaf} is shared, found leaf ${leafItems.sharedLeaves[shared]}`;
    }
    const listed = leafItems.sharedStart[shared + 1] - leafItems.sharedStart[shared];
    if (listed < onLeaf) return `leaf ${leaf} has ${onLeaf} rows or more, found ${listed}`;
  }
  const counts = [
    ['leaves', trie.leafCount, leaf + 1],
    ['shared leaves', leafItems.sharedLeaves.length, shared + 1],
    ['rows on shared leaves', leafItems.sharedStart[shared + 1], rowCount - (leaf + 1) + (shared + 1)],
  ] as const;
  for (const [what, found, expected] of counts) {
    if (found !== expected) return `${found} ${what}, expected ${expected}`;
  }
  return undefined;
}

function differingLevel(codes: NumberRows['codes'], levels: number, a: number, b: number): number {
  let level = 0;
  while (level < levels && codes[a * levels + level] === codes[b * levels + level]) level++;
  return level;
}

/** Equal rows keep the input's order. */
function isOutOfOrder(
  codes: NumberRows['codes'],
  levels: number,
  level: number,
  before: number,
  row: number,
): boolean {
  if (level === levels) return before > row;
  return codes[before * levels + level] > codes[row * levels + level];
}

function faultOfLeaf(
  { rows, newPrefix, levelCount }: TrieArrays,
  leaf: number,
  firstNew: number,
  codes: NumberRows['codes'],
  row: number,
): string | undefined {
  for (let level = 0; level < levelCount; level++) {
    const [found, expected] = [rows[leaf * levelCount + level], codes[row * levelCount + level]];
    if (found !== expected) return `leaf ${leaf}, level ${level}: code ${found}, expected ${expected}`;
    if (isBitSet(newPrefix[level], leaf) !== level >= firstNew) {
      return `leaf ${leaf}, level ${level}: a node begins at level ${firstNew}, the trie says otherwise`;
    }
  }
  return undefined;
}

/** What is wrong with the lists of children: they must have the nodes of a trie that is right. */
export function faultOfLists(trie: TrieArrays, { levels }: JsBuild): string | undefined {
  const { rows, newPrefix, leafCount, levelCount } = trie;
  const next = new Uint32Array(levelCount);
  for (let leaf = 0; leaf < leafCount; leaf++) {
    for (let level = 0; level < levelCount; level++) {
      if (!isBitSet(newPrefix[level], leaf)) continue;
      const node = next[level]++;
      const code = levels[level].codes[node];
      const expected = rows[leaf * levelCount + level];
      if (code !== expected) return `level ${level}, node ${node}: code ${code}, expected ${expected}`;
      const first = levels[level].firstChild?.[node];
      if (first !== undefined && first !== next[level + 1]) {
        return `level ${level}, node ${node}: first child ${first}, expected ${next[level + 1]}`;
      }
    }
  }
  for (let level = 0; level < levelCount; level++) {
    const found = levels[level].codes.length;
    if (found !== next[level]) return `level ${level}: ${found} nodes, expected ${next[level]}`;
  }
  return undefined;
}

/** Of all arrays of a trie. */
export function fingerprint({ trie, sortedRows, leafItems }: BuiltTrie): string {
  const { rows, newPrefix, topLevels, childMasks } = trie;
  const hash = createHash('sha256');
  const tops = topLevels.flatMap(({ codes, leafStart, firstChild }) => [codes, leafStart, firstChild]);
  const masks = [childMasks?.nodes, childMasks?.bits, childMasks?.ranks];
  for (const array of [rows, ...newPrefix, ...tops, ...masks]) {
    if (array) hash.update(bytesOf(array));
  }
  for (const array of [sortedRows, leafItems.sharedLeaves, leafItems.sharedStart])
    hash.update(bytesOf(array));
  return hash.digest('hex').slice(0, 16);
}

/** Of row numbers in the order of their SIDs: all who sort find the same. */
export function hashOfOrder(order: Uint32Array): string {
  return createHash('sha256').update(bytesOf(order)).digest('hex').slice(0, 16);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
