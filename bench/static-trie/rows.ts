import { makeSids, type SidShape } from '../suites/sids.js';

export type RowKind = SidShape;

/** [rowCount, 8] codes below `codebookSize`, at most 65,536. */
export function makeRows(kind: RowKind, rowCount: number, codebookSize: number): Uint16Array<ArrayBuffer> {
  return makeSids(kind, { rowCount, codebookSize, levels: 8 }) as Uint16Array<ArrayBuffer>;
}
