import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { EspalierError } from '../errors.js';
import {
  type CatalogChange,
  corruptLog,
  headerLine,
  logLine,
  readEntries,
  readHeader,
} from './change-lines.js';
import { isSystemError, writeAll, writeDurably, writeFailure } from './durable-file.js';

const COPY_BYTES = 1 << 20;

/** What a log on disk holds. */
interface LogState {
  /** Changes up to this number were pruned. */
  base: number;
  lastSeq: number;
  /** Bytes up to the end of the last change; 0 where there is no file yet. */
  byteLength: number;
}

/**
 * A catalog's small changes, in order and on disk: what is in it is in force, whatever ends the process. There is one
 * writer; `ChangeReader` reads along.
 * @see docs/file-format.md#logs-of-changes
 */
export class ChangeLog {
  readonly #path: string;
  #state: LogState;
  /** Whether a pruning failed, which may have written the file anew: where it ends must be read. */
  #isUnsure = false;
  #isClosed = false;

  private constructor(path: string, state: LogState) {
    this.#path = path;
    this.#state = state;
  }

  /**
   * A file that is not there is an empty log. A last line without its end was never acknowledged, and is cut off.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT with the line that is damaged; ESP_WRITE_FAILED
   */
  static open(path: string): ChangeLog {
    let file: number;
    try {
      file = openSync(path, 'r');
    } catch (thrown) {
      if (isSystemError(thrown) && thrown.code === 'ENOENT') {
        return new ChangeLog(path, { base: 0, lastSeq: 0, byteLength: 0 });
      }
      throw thrown;
    }
    try {
      const name = basename(path);
      const { header, next } = readHeader(file, name);
      let end = next;
      for (const entry of readEntries(file, name, next)) end = entry.next;
      if (fstatSync(file).size > end.offset) cutOff(path, end.offset);
      return new ChangeLog(path, { base: header.base, lastSeq: end.seq, byteLength: end.offset });
    } finally {
      closeSync(file);
    }
  }

  /** The last change's number, also where it was pruned; 0 before the first. */
  get lastSeq(): number {
    return this.#state.lastSeq;
  }

  /** Whether there is a file. */
  get exists(): boolean {
    return this.#state.byteLength > 0;
  }

  /**
   * Makes the file, without a change in it, unless it is there.
   * @throws EspalierError ESP_WRITE_FAILED
   */
  create(): void {
    if (this.exists) return;
    const header = headerLine(0, randomUUID());
    writeDurably(this.#path, [header]);
    this.#state = { base: 0, lastSeq: 0, byteLength: header.length };
  }

  /**
   * The change is durable when this returns.
   * @throws EspalierError ESP_WRITE_FAILED: then no change was added; ESP_ARTIFACT_CORRUPT where the file is gone, or
   *   is shorter than it was
   */
  append(change: Omit<CatalogChange, 'seq'>): CatalogChange {
    this.#checkOpen();
    this.create();
    const { base, lastSeq, byteLength } = this.#sureState();
    const entry = { ...change, seq: lastSeq + 1 };
    const line = logLine(entry);
    writeAtEnd(this.#path, byteLength, line);
    this.#state = { base, lastSeq: entry.seq, byteLength: byteLength + line.length };
    return entry;
  }

  /**
   * Leaves out the changes up to a number: versions that need them are gone.
   * @throws EspalierError ESP_WRITE_FAILED, ESP_ARTIFACT_CORRUPT; then the other changes are all there
   */
  prune(upToSeq: number): void {
    this.#checkOpen();
    const { base, lastSeq, byteLength } = this.#sureState();
    const newBase = Math.min(upToSeq, lastSeq);
    if (newBase <= base) return;
    this.#isUnsure = true;
    this.#state = withFile(this.#path, (file, name) => {
      const from = offsetBehind(file, name, newBase);
      const header = headerLine(newBase, randomUUID());
      writeDurably(this.#path, copyOf(file, header, from, byteLength));
      return { base: newBase, lastSeq, byteLength: header.length + byteLength - from };
    });
    this.#isUnsure = false;
  }

  /**
   * By the number of the last change, and not by the end of the file: what is behind it was never acknowledged.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT
   */
  #sureState(): LogState {
    if (!this.#isUnsure) return this.#state;
    const { lastSeq } = this.#state;
    this.#state = withFile(this.#path, (file, name) => ({
      base: readHeader(file, name).header.base,
      lastSeq,
      byteLength: offsetBehind(file, name, lastSeq),
    }));
    this.#isUnsure = false;
    return this.#state;
  }

  close(): void {
    this.#isClosed = true;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new EspalierError('ESP_INTERNAL', 'the log of changes is closed');
  }
}

function cutOff(path: string, byteLength: number): void {
  try {
    const file = openSync(path, 'r+');
    try {
      ftruncateSync(file, byteLength);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (thrown) {
    throw writeFailure(path, thrown);
  }
}

/** Opened for each write: a log is written rarely, and a file that was replaced is not written to by mistake. */
function writeAtEnd(path: string, byteLength: number, bytes: Uint8Array): void {
  try {
    const file = openExisting(path, 'r+');
    try {
      const { size } = fstatSync(file);
      if (size < byteLength) {
        const message = `${basename(path)}: expected ${byteLength} bytes, found ${size}`;
        throw new EspalierError('ESP_ARTIFACT_CORRUPT', message);
      }
      // What an earlier write left behind, and could not take back, may be longer than this one.
      if (size > byteLength) ftruncateSync(file, byteLength);
      writeOrTakeBack(file, byteLength, bytes);
    } finally {
      closeSync(file);
    }
  } catch (thrown) {
    throw writeFailure(path, thrown);
  }
}

function writeOrTakeBack(file: number, byteLength: number, bytes: Uint8Array): void {
  try {
    writeAll(file, bytes, byteLength);
    fsyncSync(file);
  } catch (thrown) {
    try {
      ftruncateSync(file, byteLength);
      fsyncSync(file);
    } catch {
      // The next write takes it back; a start before that cuts it off, or finds a change that nobody relies on.
    }
    throw thrown;
  }
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT where it is gone: what is in it was acknowledged */
function openExisting(path: string, flags: 'r' | 'r+'): number {
  try {
    return openSync(path, flags);
  } catch (thrown) {
    if (!isSystemError(thrown) || thrown.code !== 'ENOENT') throw thrown;
    throw corruptLog(basename(path), 1, 'a header', 'no file');
  }
}

function withFile<Result>(path: string, read: (file: number, name: string) => Result): Result {
  const file = openExisting(path, 'r');
  try {
    return read(file, basename(path));
  } finally {
    closeSync(file);
  }
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT where the log has no such change */
function offsetBehind(file: number, name: string, seq: number): number {
  let { next: end } = readHeader(file, name);
  for (const entry of end.seq < seq ? readEntries(file, name, end) : []) {
    end = entry.next;
    if (end.seq === seq) break;
  }
  if (end.seq !== seq) throw corruptLog(name, end.line, `change ${seq}`, `none behind ${end.seq}`);
  return end.offset;
}

function* copyOf(file: number, header: Buffer, from: number, to: number): Generator<Buffer> {
  yield header;
  for (let at = from; at < to; ) {
    const piece = Buffer.allocUnsafe(Math.min(COPY_BYTES, to - at));
    const count = readSync(file, piece, 0, piece.length, at);
    if (count === 0) throw new EspalierError('ESP_ARTIFACT_CORRUPT', `the log of changes ends at byte ${at}`);
    yield piece.subarray(0, count);
    at += count;
  }
}
