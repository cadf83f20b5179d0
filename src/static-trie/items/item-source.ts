import type { Progress } from '../progress.js';
import type { ByteBudget } from './byte-budget.js';
import type { Faults } from './faults.js';
import type { RowShape } from './table-columns.js';

export const itemFormats = ['ndjson', 'csv', 'parquet', 'arrow'] as const;
export type ItemFormat = (typeof itemFormats)[number];

/** A file of items, or of ids or SIDs, as it was uploaded. */
export interface ItemFile {
  path: string;
  format: ItemFormat;
  isGzip: boolean;
  /** What its sender called it; faults name it where an upload has several files. */
  name?: string;
}

/** What a reader of one format is given. */
export interface SourceOptions {
  shape: RowShape;
  /** Unpacked bytes that may still come. */
  budget: ByteBudget;
  onProgress: Progress;
}

/**
 * One row as it came, a JSON value still to be checked, or what is wrong with it. `line` counts lines in text formats,
 * rows in others, from 1.
 */
export type SourceRow = { line: number; item: unknown } | { line: number; faults: Faults };

/** Rows in the file's order, some at a time. @throws EspalierError ESP_UPLOAD_INVALID, ESP_BODY_TOO_LARGE */
export type ItemSource = (file: ItemFile, options: SourceOptions) => AsyncGenerator<SourceRow[]>;
