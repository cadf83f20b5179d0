import { statSync } from 'node:fs';
import type { ErrorDetail } from '../../errors.js';
import type { Progress } from '../progress.js';
import type { ItemFile } from './item-source.js';

/**
 * The lines of an upload's files as one row of numbers, so that a number alone says where something came: of each item
 * only that is kept.
 */
export class UploadPlaces {
  readonly #files: readonly ItemFile[];
  readonly #sizes: number[];
  /** The places before each file's first line. */
  readonly #before: number[] = [];
  #last = 0;

  constructor(files: readonly ItemFile[]) {
    this.#files = files;
    this.#sizes = files.map(({ path }) => statSync(path).size);
  }

  /** Goes on with a file, the next one. */
  begin(index: number): void {
    this.#before[index] = this.#last;
  }

  /** The place of a line of the file begun last. */
  at(line: number): number {
    this.#last = this.#before[this.#before.length - 1] + line;
    return this.#last;
  }

  /** Where a place is: what a fault says of it. */
  detail(place: number): Pick<ErrorDetail, 'file' | 'line'> {
    const index = this.#before.findLastIndex((before) => before < place);
    return { ...this.file(index), line: place - this.#before[index] };
  }

  /** A file's name, where there are several. */
  file(index: number): Pick<ErrorDetail, 'file'> {
    if (this.#files.length === 1) return {};
    return { file: this.#files[index].name ?? `file ${index + 1}` };
  }

  /** The progress of one file as a part of all. */
  progress(index: number, onProgress: Progress): Progress {
    const sum = (sizes: number[]) => sizes.reduce((total, size) => total + size, 0);
    const total = Math.max(1, sum(this.#sizes));
    const before = sum(this.#sizes.slice(0, index));
    return (phase, fraction) => onProgress(phase, (before + fraction * this.#sizes[index]) / total);
  }
}
