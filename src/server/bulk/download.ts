import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';

const READ_BYTES = 1 << 16;

/** Bytes that do not change. */
export interface Download {
  bytes: number;
  /** Names the bytes, e.g. `"1f3a"`: what it names never changes. */
  etag: string;
  /** From `start` up to, not including, `end`. */
  read(start: number, end: number): Readable;
}

/** The bytes from `start` up to, not including, `end` of files that follow one another, as they are read. */
export function readAcross(paths: readonly string[], start: number, end: number): Readable {
  return Readable.from(piecesOf(paths, start, end), { objectMode: false, highWaterMark: READ_BYTES });
}

async function* piecesOf(paths: readonly string[], start: number, end: number): AsyncGenerator<Buffer> {
  /** Where the file begins. */
  let at = 0;
  for (const path of paths) {
    if (at >= end) return;
    const { size } = await stat(path);
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, size);
    // A stream's `end` is the last byte.
    if (from < to) yield* createReadStream(path, { start: from, end: to - 1 }) as AsyncIterable<Buffer>;
    at += size;
  }
}
