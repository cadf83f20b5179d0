import { EspalierError } from '../errors.js';
import {
  type ChildMasks,
  countBits,
  isBitSet,
  nextSetBit,
  setBit,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';

/**
 * Checks that a trie means something: rows strictly ascend, codes are in their codebooks, and the bits and
 * the explicit levels say what the rows say. Reads every entry.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT with the level and the leaf of the first fault.
 */
export function verifyTrie(trie: TrieArrays): void {
  checkLengths(trie);
  checkRows(trie);
  trie.newPrefix.forEach((bits, level) => {
    checkEnd(bits, trie.leafCount, level);
  });
  for (let level = 0; level < trie.topLevels.length; level++) checkTopLevel(trie, level);
  if (trie.childMasks !== null) checkChildMasks(trie, trie.childMasks);
}

function checkLengths({
  leafCount,
  levelCount,
  codebookSizes,
  rows,
  newPrefix,
  topLevels,
}: TrieArrays): void {
  const words = wordsFor(leafCount + 1);
  const fits =
    codebookSizes.length === levelCount &&
    rows.length === leafCount * levelCount &&
    newPrefix.length === levelCount &&
    newPrefix.every((bits) => bits.length === words) &&
    topLevels.length === Math.min(2, levelCount);
  if (!fits) throw corrupt(`expected the arrays of ${leafCount} leaves and ${levelCount} levels`);
}

function checkRows({ leafCount, levelCount, codebookSizes, rows, newPrefix }: TrieArrays): void {
  for (let leaf = 0, start = 0; leaf < leafCount; leaf++, start += levelCount) {
    let isNew = leaf === 0;
    for (let level = 0; level < levelCount; level++) {
      const code = rows[start + level];
      if (code >= codebookSizes[level]) {
        throw fault(level, leaf, `code ${code} must be < codebook size ${codebookSizes[level]}`);
      }
      if (!isNew) {
        const before = rows[start + level - levelCount];
        if (code < before) throw fault(level, leaf, `code ${code} must be >= ${before}, as rows ascend`);
        isNew = code > before;
      }
      if (isBitSet(newPrefix[level], leaf) !== isNew) {
        throw fault(level, leaf, `newPrefix must be ${isNew ? 'set' : 'clear'}`);
      }
    }
    if (!isNew) throw fault(levelCount - 1, leaf, 'the row must not repeat the one before');
  }
}

/** The bit behind the last leaf is set, and none after it. */
function checkEnd(bits: Uint32Array, leafCount: number, level: number): void {
  if (!isBitSet(bits, leafCount)) throw fault(level, leafCount, 'newPrefix must be set behind the last leaf');
  const bitCount = bits.length * 32;
  const stray = nextSetBit(bits, leafCount + 1, bitCount);
  if (stray !== bitCount) throw fault(level, stray, 'newPrefix must be clear where there is no leaf');
}

function checkTopLevel(
  { leafCount, levelCount, rows, newPrefix, topLevels }: TrieArrays,
  level: number,
): void {
  const { codes, leafStart, firstChild } = topLevels[level];
  const nodeCount = codes.length;
  const below = topLevels[level + 1];
  if (leafStart.length !== nodeCount + 1)
    throw corrupt(`level ${level}: expected ${nodeCount + 1} leafStart`);
  if ((firstChild?.length ?? null) !== (below === undefined ? null : nodeCount + 1)) {
    throw corrupt(`level ${level}: firstChild does not fit ${nodeCount} nodes`);
  }
  let leaf = -1;
  for (let node = 0; node <= nodeCount; node++) {
    leaf = nextSetBit(newPrefix[level], leaf + 1, leafCount);
    if (leafStart[node] !== leaf) {
      throw fault(level, leaf, `node ${node} must begin here, not at leaf ${leafStart[node]}`);
    }
    if (node < nodeCount && leaf === leafCount) throw fault(level, leaf, `node ${node} has no leaf`);
    if (node < nodeCount && codes[node] !== rows[leaf * levelCount + level]) {
      throw fault(level, leaf, `node ${node} must have code ${rows[leaf * levelCount + level]}`);
    }
    // A node's first child is the node of the next level that begins at the same leaf.
    if (firstChild && below.leafStart[firstChild[node]] !== leaf) {
      throw fault(level, leaf, `the first child of node ${node} must begin here`);
    }
  }
  if (leaf !== leafCount) throw fault(level, leaf, `node ${nodeCount} is missing`);
}

/** After the explicit levels: which nodes have a mask is free, what it says is not. */
function checkChildMasks(
  { codebookSizes, topLevels: [roots, children] }: TrieArrays,
  { nodes, bits, ranks }: ChildMasks,
): void {
  const words = children === undefined ? 0 : wordsFor(codebookSizes[1]);
  if (words === 0 || bits.length !== nodes.length * words || ranks.length !== bits.length / 2) {
    throw corrupt(`child masks do not fit ${nodes.length} nodes and ${codebookSizes.length} levels`);
  }
  for (let index = 0; index < nodes.length; index++) {
    const node = nodes[index];
    if (node >= roots.codes.length || (index > 0 && node <= nodes[index - 1])) {
      throw corrupt(`child mask ${index}: nodes must ascend below ${roots.codes.length}, found ${node}`);
    }
    const first = roots.firstChild![node];
    const childCodes = children.codes.subarray(first, roots.firstChild![node + 1]);
    const mask = new Uint32Array(words);
    for (const code of childCodes) setBit(mask, code);
    let rank = 0;
    for (let word = 0; word < words; word++) {
      const at = index * words + word;
      // Ranks are those of 64-bit words.
      if (bits[at] !== mask[word] || (at % 2 === 0 && ranks[at / 2] !== rank)) {
        throw fault(1, roots.leafStart[node], `the child mask of node ${node} must have its children`);
      }
      rank += countBits(mask, word * 32, word * 32 + 32);
    }
  }
}

function fault(level: number, leaf: number, message: string): EspalierError {
  return corrupt(`level ${level}, leaf ${leaf}: ${message}`);
}

function corrupt(message: string): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', `static trie: ${message}`);
}
