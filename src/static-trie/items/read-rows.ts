import { setImmediate as nextTurn } from 'node:timers/promises';
import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { Progress } from '../progress.js';
import { ByteBudget } from './byte-budget.js';
import { Faults, MAX_FAULTS } from './faults.js';
import type { ItemFile, ItemFormat, ItemSource, SourceRow } from './item-source.js';
import { readNdjson } from './ndjson.js';
import type { RowShape } from './table-columns.js';
import { UploadPlaces } from './upload-places.js';

/** Loaded with the first file of their format: who only serves a catalog needs none of their libraries. */
const sources: Record<ItemFormat, () => Promise<ItemSource>> = {
  ndjson: async () => readNdjson,
  csv: async () => (await import('./csv.js')).readCsv,
  parquet: async () => (await import('./parquet.js')).readParquet,
  arrow: async () => (await import('./arrow.js')).readArrow,
};

export interface ReadOptions {
  onProgress?: Progress;
  /** What the files may become, together, when they are unpacked. */
  maxBytes?: number;
  /** Looked at between batches of rows. */
  signal?: AbortSignal;
}

/** Takes one row's JSON value. @param place a number for the places of the upload @returns what is wrong with it */
export type TakeRow = (value: unknown, place: number, places: UploadPlaces) => Faults | undefined;

/**
 * Reads the rows of an upload's files, one file after the other.
 * @throws EspalierError ESP_UPLOAD_INVALID with the first 100 faults, of each line 10 at most; ESP_BODY_TOO_LARGE;
 *   ESP_CANCELLED
 */
export async function readRows(
  files: readonly ItemFile[],
  shape: RowShape,
  { onProgress = () => {}, maxBytes = Number.POSITIVE_INFINITY, signal }: ReadOptions,
  take: TakeRow,
): Promise<void> {
  const budget = new ByteBudget(maxBytes);
  const places = new UploadPlaces(files);
  const faults = new BadLines();
  for (const [index, file] of files.entries()) {
    if (faults.isFull) break;
    places.begin(index);
    const ofFile = { shape, budget, onProgress: places.progress(index, onProgress) };
    const read = await sources[file.format]();
    try {
      for await (const rows of read(file, ofFile)) {
        if (signal !== undefined) await refuseCancelled(signal);
        takeRows(rows, places, take, faults);
        if (faults.isFull) break;
      }
    } catch (thrown) {
      if (files.length === 1 || !isBadFile(thrown)) throw thrown;
      // The others are still worth looking at: whoever mends the upload wants to know all.
      faults.add(Faults.of(...thrown.details!), places.file(index));
    }
  }
  faults.refuse();
}

function takeRows(rows: SourceRow[], places: UploadPlaces, take: TakeRow, faults: BadLines): void {
  for (const row of rows) {
    const place = places.at(row.line);
    const found = 'faults' in row ? row.faults : take(row.item, place, places);
    if (found !== undefined) faults.add(found, places.detail(place));
    if (faults.isFull) return;
  }
}

function isBadFile(thrown: unknown): thrown is EspalierError {
  return thrown instanceof EspalierError && thrown.code === 'ESP_UPLOAD_INVALID';
}

/** Whoever aborts the signal does so in a turn of the event loop, which a source that has all rows never yields. */
async function refuseCancelled(signal: AbortSignal): Promise<void> {
  await nextTurn();
  if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the upload was cancelled');
}

/** The faults of the first lines that have any. Reading ends with the last one that is told. */
class BadLines {
  readonly #faults = new Faults(MAX_FAULTS);
  #count = 0;

  get isFull(): boolean {
    return this.#faults.isFull;
  }

  add(faults: Faults, place: Pick<ErrorDetail, 'file' | 'line'>): void {
    this.#faults.addAll(faults, (fault) => ({ ...place, ...fault }));
    this.#count++;
  }

  /** @throws EspalierError ESP_UPLOAD_INVALID where there is any */
  refuse(): void {
    if (this.#count === 0) return;
    const { file, line, field, expected, found } = this.#faults.told[0];
    const place = [file, line && `line ${line}`, field && `field ${field}`].filter(Boolean).join(', ');
    const count = this.isFull ? `at least ${this.#count}` : this.#count;
    const lines = this.#count === 1 ? 'line' : 'lines';
    const message = `${count} bad ${lines}; first: ${place}: expected ${expected}, found ${found}${this.#faults.untold}`;
    throw new EspalierError('ESP_UPLOAD_INVALID', message, { details: [...this.#faults.told] });
  }
}
