import { EspalierError } from '../../errors.js';
import type { TrieArrays } from '../../kernels/index.js';
import { MAX_CODEBOOK_SIZE, MAX_LEVELS, type SidRows, wideRows } from '../build.js';
import { type BuildOptions, buildTrie } from '../build-trie.js';
import type { StaticCsr } from './static-csr.js';

/**
 * The trie that a reference index stands for. Everything is checked first: only the arrays that the reference
 * itself builds from sorted distinct rows are taken.
 * @param codebookSizes  Of the trie; the index does not know them. By default every one is the vocabulary size.
 * @throws EspalierError ESP_ARRAY_FILE with the array and the place where it is wrong
 */
export async function importStatic(
  csr: StaticCsr,
  { codebookSizes, ...options }: BuildOptions & { codebookSizes?: readonly number[] | undefined } = {},
): Promise<TrieArrays> {
  const rows = sidRowsOfStatic(csr, codebookSizes);
  return (await buildTrie(rows, options)).trie;
}

/** The SIDs of a reference index, in order. */
export function sidRowsOfStatic(csr: StaticCsr, codebookSizes?: readonly number[]): SidRows {
  const levelCount = csr.layerMaxBranches.length;
  if (levelCount > MAX_LEVELS || levelCount <= csr.denseLookupLayers) {
    const expected = `more levels than ${csr.denseLookupLayers} and at most ${MAX_LEVELS}`;
    throw fault('layer_max_branches', expected, `${levelCount}`);
  }
  const sizes = codebookSizes ?? csr.layerMaxBranches.map(() => Math.min(csr.vocabSize, MAX_CODEBOOK_SIZE));
  if (sizes.length !== levelCount) {
    throw fault('layer_max_branches', `${sizes.length} levels, one for each codebook`, `${levelCount}`);
  }
  checkLengths(csr);
  checkIndptr(csr);
  checkFirstCodes(csr, sizes[0]);
  const levelEnds = findLevelEnds(csr, levelCount);
  checkEdges(csr, levelEnds, sizes);
  checkBranches(csr, levelEnds);
  checkDense(csr);
  return enumerateRows(csr, levelEnds, sizes);
}

function checkLengths({ vocabSize, denseLookupLayers, ...arrays }: StaticCsr): void {
  const denseEntries = vocabSize ** denseLookupLayers;
  expectLength('start_mask', arrays.startMask, vocabSize);
  expectLength('dense_mask', arrays.denseMask, denseEntries);
  expectLength('dense_states', arrays.denseStates, denseEntries);
  const rowCount = arrays.packedCsr.length / 2;
  if (!Number.isInteger(rowCount) || rowCount <= vocabSize) {
    throw fault('packed_csr', `more than ${vocabSize} rows of 2 entries`, `${rowCount}`);
  }
  if (arrays.indptr.length < vocabSize + 3) {
    throw fault('indptr', `at least ${vocabSize + 3} entries`, `${arrays.indptr.length}`);
  }
}

/** From 0 up to the rows of packed_csr. State 0 has no edges, a first code has some where start_mask says so. */
function checkIndptr({ vocabSize, indptr, packedCsr, startMask }: StaticCsr): void {
  const stateCount = indptr.length - 2;
  const rowCount = packedCsr.length / 2;
  expectEntry('indptr', 0, indptr[0], 0);
  expectEntry('indptr', stateCount, indptr[stateCount], rowCount - vocabSize);
  expectEntry('indptr', stateCount + 1, indptr[stateCount + 1], rowCount);
  for (let state = 0; state < stateCount; state++) {
    let hasEdges = state > vocabSize;
    if (state >= 1 && state <= vocabSize) {
      hasEdges = startMask[state - 1] === 1;
      if (!hasEdges) expectEntry('start_mask', state - 1, startMask[state - 1], 0);
    }
    const isRight = hasEdges ? indptr[state + 1] > indptr[state] : indptr[state + 1] === indptr[state];
    if (isRight) continue;
    const expected = `${hasEdges ? 'more than' : 'the same as'} indptr[${state}] (${indptr[state]})`;
    throw fault(`indptr[${state + 1}]`, expected, `${indptr[state + 1]}`);
  }
}

function checkFirstCodes({ startMask }: StaticCsr, codebookSize: number): void {
  const code = startMask.indexOf(1, codebookSize);
  if (code < 0) return;
  throw fault(`start_mask[${code}]`, `0 beyond the codebook of ${codebookSize} codes`, '1');
}

/**
 * [levels]: where the edges of each level end; level 0 has none. The edge at place e is the way to state
 * vocabSize + 1 + e, so the states of a level tell where the edges of the next one end.
 */
function findLevelEnds({ vocabSize, indptr }: StaticCsr, levelCount: number): number[] {
  const stateCount = indptr.length - 2;
  const ends = [0];
  for (let level = 1; level < levelCount; level++) {
    const states = vocabSize + 1 + ends[level - 1];
    const isLast = level === levelCount - 1;
    if (isLast ? states !== stateCount : states >= stateCount) {
      const place = `states that SIDs of ${levelCount} levels have above level ${level}`;
      throw fault('indptr', `${isLast ? states : `more than ${states}`} ${place}`, `${stateCount}`);
    }
    ends.push(indptr[states]);
  }
  return ends;
}

/** Codes ascend among the children of a state, and every edge leads where its place says. */
function checkEdges(csr: StaticCsr, levelEnds: readonly number[], sizes: readonly number[]): void {
  const { vocabSize, indptr, packedCsr } = csr;
  const innerEdges = indptr.length - 2 - (vocabSize + 1);
  let edge = 0;
  let level = 1;
  for (let state = 1; state < indptr.length - 2; state++) {
    let least = 0;
    for (; edge < indptr[state + 1]; edge++) {
      while (edge === levelEnds[level]) level++;
      const code = packedCsr[2 * edge];
      if (code < least || code >= vocabSize || code >= sizes[level]) {
        const most = Math.min(vocabSize, sizes[level]) - 1;
        throw fault(
          `packed_csr[${edge}, 0]`,
          `a code of level ${level}, from ${least} to ${most}`,
          `${code}`,
        );
      }
      least = code + 1;
      const child = edge < innerEdges ? vocabSize + 1 + edge : 0;
      if (packedCsr[2 * edge + 1] !== child) {
        throw fault(`packed_csr[${edge}, 1]`, `state ${child}`, `${packedCsr[2 * edge + 1]}`);
      }
    }
  }
  for (let index = 2 * edge; index < packedCsr.length; index++) {
    const padding = index % 2 === 0 ? vocabSize : 0;
    if (packedCsr[index] !== padding) {
      throw fault(`packed_csr[${index >>> 1}, ${index % 2}]`, `${padding} as padding`, `${packedCsr[index]}`);
    }
  }
}

function checkBranches(
  { vocabSize, indptr, startMask, layerMaxBranches }: StaticCsr,
  levelEnds: readonly number[],
): void {
  let roots = 0;
  for (const isLive of startMask) roots += isLive;
  expectEntry('layer_max_branches', 0, layerMaxBranches[0], roots);
  let state = 1;
  for (let level = 1; level < levelEnds.length; level++) {
    let most = 0;
    for (; state < vocabSize + 1 + levelEnds[level - 1]; state++) {
      most = Math.max(most, indptr[state + 1] - indptr[state]);
    }
    expectEntry('layer_max_branches', level, layerMaxBranches[level], most);
  }
}

/** The tables say what the edges say, and nothing else. */
function checkDense({ vocabSize, denseLookupLayers, ...arrays }: StaticCsr): void {
  const { indptr, packedCsr, startMask, denseMask, denseStates } = arrays;
  let next = 0;
  const expectUpTo = (entry: number, state: number) => {
    for (; next < entry; next++) {
      if (denseMask[next] !== 0) expectEntry('dense_mask', next, denseMask[next], 0);
      if (denseStates[next] !== 0) expectEntry('dense_states', next, denseStates[next], 0);
    }
    if (entry === denseMask.length) return;
    expectEntry('dense_mask', entry, denseMask[entry], 1);
    expectEntry('dense_states', entry, denseStates[entry], state);
    next = entry + 1;
  };
  for (let code = 0; code < vocabSize; code++) {
    if (startMask[code] === 0) continue;
    if (denseLookupLayers === 1) {
      expectUpTo(code, code + 1);
      continue;
    }
    for (let edge = indptr[code + 1]; edge < indptr[code + 2]; edge++) {
      expectUpTo(code * vocabSize + packedCsr[2 * edge], vocabSize + 1 + edge);
    }
  }
  expectUpTo(denseMask.length, 0);
}

/** Column by column from the last level up: a node begins where its first child begins. */
function enumerateRows(
  { vocabSize, indptr, packedCsr, startMask }: StaticCsr,
  levelEnds: readonly number[],
  codebookSizes: readonly number[],
): SidRows {
  const levelCount = codebookSizes.length;
  const rowCount = levelEnds[levelCount - 1] - levelEnds[levelCount - 2];
  const codes = new (wideRows(codebookSizes) ? Uint32Array : Uint16Array)(rowCount * levelCount);
  let starts = Uint32Array.from({ length: rowCount + 1 }, (_, row) => row);
  for (let level = levelCount - 1; level >= 1; level--) {
    const firstEdge = levelEnds[level - 1];
    if (level < levelCount - 1) {
      const nodeStarts = new Uint32Array(levelEnds[level] - firstEdge + 1);
      for (let node = 0; node < nodeStarts.length; node++) {
        nodeStarts[node] = starts[indptr[vocabSize + 1 + firstEdge + node] - levelEnds[level]];
      }
      starts = nodeStarts;
    }
    for (let node = 0; node < starts.length - 1; node++) {
      const code = packedCsr[2 * (firstEdge + node)];
      for (let row = starts[node]; row < starts[node + 1]; row++) codes[row * levelCount + level] = code;
    }
  }
  for (let code = 0; code < vocabSize; code++) {
    if (startMask[code] === 0) continue;
    const end = starts[indptr[code + 2]];
    for (let row = starts[indptr[code + 1]]; row < end; row++) codes[row * levelCount] = code;
  }
  return { codebookSizes, rowCount, codes };
}

function expectLength(name: string, array: ArrayLike<number>, length: number): void {
  if (array.length !== length) throw fault(name, `${length} entries`, `${array.length}`);
}

function expectEntry(name: string, index: number, found: number, expected: number): void {
  if (found !== expected) throw fault(`${name}[${index}]`, `${expected}`, `${found}`);
}

function fault(place: string, expected: string, found: string): EspalierError {
  return new EspalierError('ESP_ARRAY_FILE', `${place}: expected ${expected}, found ${found}`);
}
