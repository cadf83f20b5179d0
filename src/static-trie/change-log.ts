import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { EspalierError } from '../errors.js';
import { type CatalogChange, headerLine, logLine, readEntries, readHeader } from './change-lines.js';
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

  /**
   * The change is durable when this returns.
   * @throws EspalierError ESP_WRITE_FAILED; then the log is as it was
   */
  append(change: Omit<CatalogChange, 'seq'>): CatalogChange {
    this.#checkOpen();
    const { base, lastSeq, byteLength } = this.#state;
    const entry = { ...change, seq: lastSeq + 1 };
    let line = logLine(entry);
    if (byteLength > 0) writeAtEnd(this.#path, byteLength, line);
    else {
      line = Buffer.concat([headerLine(base, randomUUID()), line]);
      writeDurably(this.#path, [line]);
    }
    this.#state = { base, lastSeq: entry.seq, byteLength: byteLength + line.length };
    return entry;
  }

  /**
   * Leaves out the changes up to a number: versions that need them are gone.
   * @throws EspalierError ESP_WRITE_FAILED; then the log is as it was
   */
  prune(upToSeq: number): void {
    this.#checkOpen();
    const { base, lastSeq, byteLength } = this.#state;
    const newBase = Math.min(upToSeq, lastSeq);
    if (newBase <= base) return;
    const file = openSync(this.#path, 'r');
    try {
      const from = offsetBehind(file, basename(this.#path), newBase);
      const header = headerLine(newBase, randomUUID());
      writeDurably(this.#path, copyOf(file, header, from, byteLength));
      this.#state = { base: newBase, lastSeq, byteLength: header.length + byteLength - from };
    } finally {
      closeSync(file);
    }
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
    const file = openSync(path, 'r+');
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

function offsetBehind(file: number, name: string, seq: number): number {
  const { next } = readHeader(file, name);
  let end = next;
  for (const entry of readEntries(file, name, next)) {
    if (entry.change.seq > seq) break;
    end = entry.next;
  }
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
