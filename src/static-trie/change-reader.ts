import { closeSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import { type CatalogChange, corruptLog, type LogPlace, readEntries, readHeader } from './change-lines.js';
import { isSystemError } from './durable-file.js';

/**
 * Reads a log of changes while its writer goes on: each time from where it stopped. A log that was pruned meanwhile
 * is another file, and is read anew.
 */
export class ChangeReader {
  readonly #path: string;
  /** The last change that was read, or need not be. */
  #seq: number;
  /** Of the file that was read. */
  #id: string | undefined;
  #place: LogPlace = { offset: 0, line: 1, seq: 0 };

  /** @param after changes up to this one are not asked for */
  constructor(path: string, after: number) {
    this.#path = path;
    this.#seq = after;
  }

  /**
   * The number of the last whole change in a log, which another process may be writing; 0 where there is none.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT with the line that is damaged
   */
  static lastSeqOf(path: string): number {
    let file: number;
    try {
      file = openSync(path, 'r');
    } catch (thrown) {
      if (isSystemError(thrown) && thrown.code === 'ENOENT') return 0;
      throw thrown;
    }
    try {
      const name = basename(path);
      let { next: place } = readHeader(file, name);
      for (const entry of readEntries(file, name, place)) place = entry.next;
      return place.seq;
    } finally {
      closeSync(file);
    }
  }

  /** One that stands where this one stands, and goes on by itself. */
  copy(): ChangeReader {
    const copy = new ChangeReader(this.#path, this.#seq);
    copy.#id = this.#id;
    copy.#place = this.#place;
    return copy;
  }

  /**
   * The changes that come next, up to one that the writer has acknowledged; none where that was read already.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where one is missing or damaged; then nothing was read
   */
  catchUp(upTo: number): CatalogChange[] {
    if (upTo <= this.#seq) return [];
    const name = basename(this.#path);
    const file = this.#open(name, upTo);
    try {
      const { header, next } = readHeader(file, name);
      let place = header.id === this.#id ? this.#place : next;
      if (place.seq > this.#seq) throw this.#missing(name, place);
      const changes: CatalogChange[] = [];
      for (const entry of place.seq < upTo ? readEntries(file, name, place) : []) {
        if (entry.change.seq > this.#seq) changes.push(entry.change);
        place = entry.next;
        if (place.seq === upTo) break;
      }
      if (place.seq < upTo)
        throw corruptLog(name, place.line, `changes up to ${upTo}`, `none behind ${place.seq}`);
      this.#id = header.id;
      this.#place = place;
      this.#seq = upTo;
      return changes;
    } finally {
      closeSync(file);
    }
  }

  #open(name: string, upTo: number): number {
    try {
      return openSync(this.#path, 'r');
    } catch (thrown) {
      if (!isSystemError(thrown) || thrown.code !== 'ENOENT') throw thrown;
      throw corruptLog(name, 1, `changes up to ${upTo}`, 'no file');
    }
  }

  #missing(name: string, { line, seq }: LogPlace) {
    return corruptLog(name, line, `change ${this.#seq + 1}`, `none up to ${seq}`);
  }
}
