import { constants } from 'node:buffer';
import { EspalierError } from '../../errors.js';
import { countBits, isBitSet, nextSetBit, type TrieArrays } from '../../kernels/index.js';

/** The number of levels that the reference looks up in a dense table, not in the CSR. */
export type DenseLookupLayers = 1 | 2;

/**
 * The arrays of the reference implementation of STATIC (arXiv 2602.22647), under its names.
 *
 * States are numbered: 0 is both absent and terminal; a first code c leads to state c + 1; the nodes of levels 1 to
 * L − 2 follow from vocabSize + 1 on, level by level. Edges stand in the order of the states that they leave, so the
 * edge at place e of the CSR leads to state vocabSize + 1 + e, except on the last level, where it leads to 0.
 */
export interface StaticCsr {
  vocabSize: number;
  denseLookupLayers: DenseLookupLayers;
  /** [edges + vocabSize, 2]: token and next state; the last vocabSize rows are padding, (vocabSize, 0). */
  packedCsr: Int32Array;
  /** [states + 2]: the first edge of each state, then the number of edges, then the rows of packedCsr. */
  indptr: Int32Array;
  /** [levels]: the most children that a node has before its code of this level is chosen. */
  layerMaxBranches: readonly number[];
  /** [vocabSize] of 0 and 1: the first codes that exist. */
  startMask: Uint8Array;
  /** [vocabSize], or [vocabSize, vocabSize] with two layers: the prefixes that exist, and the states they lead to. */
  denseMask: Uint8Array;
  denseStates: Int32Array;
}

export interface ExportOptions {
  vocabSize: number;
  denseLookupLayers: DenseLookupLayers;
}

const MAX_INT32 = 2 ** 31 - 1;
/** Five bytes each: 5 GiB of tables, at two layers a vocabulary of 32,768. */
const MAX_DENSE_ENTRIES = 2 ** 30;

/**
 * A trie as the reference's `build_static_index` returns it for the sorted distinct rows, to the last byte. 20
 * million SIDs of 8 levels take about 1.1 GB for packedCsr and 0.5 GB for indptr.
 * @throws EspalierError ESP_EXPORT_UNSUPPORTED before anything is allocated
 */
export function exportStatic(trie: TrieArrays, { vocabSize, denseLookupLayers }: ExportOptions): StaticCsr {
  const nodes = trie.newPrefix.map((bits) => countBits(bits, 0, trie.leafCount));
  const { stateCount, edgeCount, denseEntries } = planExport(trie.codebookSizes, nodes, {
    vocabSize,
    denseLookupLayers,
  });
  const packedCsr = new Int32Array(2 * (edgeCount + vocabSize));
  const indptr = new Int32Array(stateCount + 2);
  fillEdges(trie, vocabSize, packedCsr, indptr);
  for (let row = edgeCount; row < edgeCount + vocabSize; row++) packedCsr[2 * row] = vocabSize;
  const layerMaxBranches = maxBranches(indptr, vocabSize, nodes);
  for (let state = 0; state < stateCount; state++) indptr[state + 1] += indptr[state];
  indptr[stateCount + 1] = edgeCount + vocabSize;

  const [roots] = trie.topLevels;
  const startMask = new Uint8Array(vocabSize);
  for (const code of roots.codes) startMask[code] = 1;
  const denseMask = new Uint8Array(denseEntries);
  const denseStates = new Int32Array(denseEntries);
  fillDense(trie, { vocabSize, denseLookupLayers }, denseMask, denseStates);
  return {
    vocabSize,
    denseLookupLayers,
    packedCsr,
    indptr,
    layerMaxBranches,
    startMask,
    denseMask,
    denseStates,
  };
}

/**
 * The sizes of the arrays, from the number of nodes on each level.
 * @throws EspalierError ESP_EXPORT_UNSUPPORTED where the reference has no such arrays, or they are too large
 */
export function planExport(
  codebookSizes: readonly number[],
  nodes: readonly number[],
  { vocabSize, denseLookupLayers }: ExportOptions,
): { stateCount: number; edgeCount: number; denseEntries: number } {
  const levelCount = codebookSizes.length;
  if (!Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > MAX_INT32) {
    refuse(`the vocabulary size must be 1 to ${MAX_INT32}, found ${vocabSize}`);
  }
  if (denseLookupLayers !== 1 && denseLookupLayers !== 2) {
    refuse(`the dense lookup layers must be 1 or 2, found ${denseLookupLayers}`);
  }
  if (levelCount <= denseLookupLayers) {
    refuse(
      `${denseLookupLayers} dense lookup layers need SIDs of more levels than that, found ${levelCount}`,
    );
  }
  codebookSizes.forEach((size, level) => {
    if (size > vocabSize)
      refuse(`level ${level}: codebook size ${size} must be <= vocabulary size ${vocabSize}`);
  });
  if (nodes[0] < 1) refuse('a trie without SIDs has no such arrays');
  const denseEntries = vocabSize ** denseLookupLayers;
  if (denseEntries > MAX_DENSE_ENTRIES) {
    refuse(
      `${denseLookupLayers} dense lookup layers of ${vocabSize} tokens need tables of ${denseEntries} entries; at most ${MAX_DENSE_ENTRIES} are made`,
    );
  }
  const inner = sum(nodes.slice(1, -1));
  const edgeCount = inner + nodes[levelCount - 1];
  const rowCount = edgeCount + vocabSize;
  if (rowCount > MAX_INT32) refuse(`${rowCount} rows of packed_csr cannot be numbered with int32`);
  // Node 20 makes no array beyond 4 GiB; later versions do.
  if (rowCount * 8 > constants.MAX_LENGTH) {
    refuse(
      `packed_csr takes ${rowCount * 8} bytes; this Node makes arrays of ${constants.MAX_LENGTH} at most`,
    );
  }
  return { stateCount: vocabSize + 1 + inner, edgeCount, denseEntries };
}

/** Writes every edge, and into indptr[state + 1] how many leave each state. */
function fillEdges(trie: TrieArrays, vocabSize: number, packedCsr: Int32Array, indptr: Int32Array): void {
  const { leafCount, levelCount, rows, newPrefix } = trie;
  let edge = 0;
  // Below level 0 parents are numbered in the order in which they are met, across the levels.
  let parent = vocabSize;
  for (let level = 1; level < levelCount; level++) {
    const isLast = level === levelCount - 1;
    for (let leaf = 0; leaf < leafCount; leaf = nextSetBit(newPrefix[level], leaf + 1, leafCount)) {
      if (level > 1 && isBitSet(newPrefix[level - 1], leaf)) parent++;
      const state = level === 1 ? rows[leaf * levelCount] + 1 : parent;
      indptr[state + 1]++;
      packedCsr[2 * edge] = rows[leaf * levelCount + level];
      packedCsr[2 * edge + 1] = isLast ? 0 : vocabSize + 1 + edge;
      edge++;
    }
  }
}

/** `counts[state + 1]` is a state's number of edges. */
function maxBranches(counts: Int32Array, vocabSize: number, nodes: readonly number[]): number[] {
  const branches = [nodes[0]];
  let start = 2;
  let length = vocabSize;
  for (let level = 0; level < nodes.length - 1; level++) {
    let most = 0;
    for (let index = start; index < start + length; index++) most = Math.max(most, counts[index]);
    branches.push(most);
    start += length;
    length = nodes[level + 1];
  }
  return branches;
}

function fillDense(
  { topLevels: [roots, children] }: TrieArrays,
  { vocabSize, denseLookupLayers }: ExportOptions,
  denseMask: Uint8Array,
  denseStates: Int32Array,
): void {
  roots.codes.forEach((code, root) => {
    if (denseLookupLayers === 1) {
      denseMask[code] = 1;
      denseStates[code] = code + 1;
      return;
    }
    for (let node = roots.firstChild![root]; node < roots.firstChild![root + 1]; node++) {
      const entry = code * vocabSize + children.codes[node];
      denseMask[entry] = 1;
      denseStates[entry] = vocabSize + 1 + node;
    }
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function refuse(message: string): never {
  throw new EspalierError('ESP_EXPORT_UNSUPPORTED', message);
}
