import type { NumberRows } from '../../baselines/js-build.js';
import { makeSids, type SidOptions, type SidShape } from '../sids.js';

/** Rows of SIDs to build a trie of. */
export interface RowOptions extends SidOptions {
  shape: SidShape;
}

export function drawRows({ shape, ...options }: RowOptions): NumberRows {
  const codebookSizes = new Array<number>(options.levels).fill(options.codebookSize);
  return { codebookSizes, rowCount: options.rowCount, codes: makeSids(shape, options) };
}
