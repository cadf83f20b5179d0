import { basename, extname } from 'node:path';
import { EspalierError } from '../../errors.js';
import { MAX_LEVELS, MAX_ROWS, type SidRows } from '../build.js';
import { arrayFault, type NpyArray, openNpy } from './npy.js';
import { openNpz } from './npz.js';

/**
 * SIDs from a NumPy array [rows, levels] of whole numbers, mapped as they lie. The builders check each code.
 * @throws EspalierError ESP_ARRAY_FILE
 */
export function readSidRows(path: string, codebookSizes: readonly number[]): SidRows {
  const array = extname(path) === '.npz' ? openNpz(path) : openNpy(path);
  try {
    return sidRowsOf(array, codebookSizes);
  } finally {
    array.close();
  }
}

/** What a builder says of the rows of a file, with the file's name; anything else as it is. */
export function inFile(path: string, thrown: unknown): unknown {
  if (!(thrown instanceof EspalierError) || thrown.code !== 'ESP_SHAPE') return thrown;
  return new EspalierError('ESP_ARRAY_FILE', `${basename(path)}: ${thrown.message}`, { cause: thrown });
}

function sidRowsOf(array: NpyArray, codebookSizes: readonly number[]): SidRows {
  const { name, dtype, shape } = array;
  const levelCount = codebookSizes.length;
  if (shape.length !== 2 || shape[1] !== levelCount || levelCount > MAX_LEVELS) {
    const expected = `shape (rows, ${levelCount}), one column for each codebook`;
    throw arrayFault(name, expected, `(${shape.join(', ')})`);
  }
  const rowCount = shape[0];
  if (rowCount < 1 || rowCount > MAX_ROWS) throw arrayFault(name, '1 to 2^32 - 2 rows', `${rowCount}`);
  if (dtype === 'bool') throw arrayFault(name, 'codes', 'dtype bool');
  return { codebookSizes, rowCount, codes: array.take(dtype) };
}
