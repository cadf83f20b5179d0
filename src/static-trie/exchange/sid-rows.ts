import { extname } from 'node:path';
import { MAX_LEVELS, type SidRows, wideRows } from '../build.js';
import { arrayFault, type NpyArray, openNpy } from './npy.js';
import { openNpz } from './npz.js';

/** Rows in a type that both builders take as they are. */
export interface ReadRows extends SidRows {
  codes: Uint16Array | Uint32Array;
}

/**
 * SIDs from a NumPy array [rows, levels], every code checked against its codebook. uint16 and uint32 are mapped;
 * other types are converted piece by piece.
 * @throws EspalierError ESP_ARRAY_FILE
 */
export function readSidRows(path: string, codebookSizes: readonly number[]): ReadRows {
  const array = extname(path) === '.npz' ? openNpz(path) : openNpy(path);
  try {
    return sidRowsOf(array, codebookSizes);
  } finally {
    array.close();
  }
}

function sidRowsOf(array: NpyArray, codebookSizes: readonly number[]): ReadRows {
  const { name, dtype, shape } = array;
  const levelCount = codebookSizes.length;
  if (shape.length !== 2 || shape[1] !== levelCount || levelCount > MAX_LEVELS) {
    const expected = `shape (rows, ${levelCount}), one column for each codebook`;
    throw arrayFault(name, expected, `(${shape.join(', ')})`);
  }
  const rowCount = shape[0];
  if (rowCount < 1 || rowCount >= 2 ** 32 - 1) throw arrayFault(name, '1 to 2^32 - 2 rows', `${rowCount}`);
  const check = (codes: Codes, firstIndex: number) => checkCodes(name, codes, firstIndex, codebookSizes);
  if (dtype === 'uint16' || dtype === 'uint32') {
    const codes = array.take(dtype);
    check(codes, 0);
    return { codebookSizes, rowCount, codes };
  }
  if (dtype === 'bool') throw arrayFault(name, 'codes', 'dtype bool');
  const codes = new (wideRows(codebookSizes) ? Uint32Array : Uint16Array)(array.length);
  let at = 0;
  for (const piece of array.pieces(dtype)) {
    const values = piece instanceof BigInt64Array ? lowWords(name, piece, at, levelCount) : piece;
    check(values, at);
    codes.set(values, at);
    at += values.length;
  }
  return { codebookSizes, rowCount, codes };
}

type Codes = Uint8Array | Uint16Array | Uint32Array | Int32Array;

function checkCodes(name: string, codes: Codes, firstIndex: number, codebookSizes: readonly number[]): void {
  let level = firstIndex % codebookSizes.length;
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index];
    if (code < 0 || code >= codebookSizes[level]) {
      throw codeFault(name, firstIndex + index, codebookSizes.length, codebookSizes[level], code);
    }
    if (++level === codebookSizes.length) level = 0;
  }
}

/** int64 by its 32-bit words, which is much faster than one BigInt for each code; the high word must be 0. */
function lowWords(name: string, values: BigInt64Array, firstIndex: number, levelCount: number): Uint32Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  const low = new Uint32Array(values.length);
  for (let index = 0; index < values.length; index++) {
    if (words[2 * index + 1] !== 0) {
      throw codeFault(name, firstIndex + index, levelCount, undefined, values[index]);
    }
    low[index] = words[2 * index];
  }
  return low;
}

function codeFault(
  name: string,
  index: number,
  levelCount: number,
  size: number | undefined,
  code: number | bigint,
): Error {
  const place = `row ${Math.floor(index / levelCount)}, level ${index % levelCount}`;
  const expected = size === undefined ? 'a code below its codebook size' : `a code from 0 to ${size - 1}`;
  return arrayFault(`${name}: ${place}`, expected, `${code}`);
}
