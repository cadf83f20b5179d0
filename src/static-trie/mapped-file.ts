import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { mapNatively } from '../kernels/index.js';

/** Smaller pieces are read: a process may have some 65,000 mappings, and each lasts until it is collected. */
const MAP_FROM_BYTES = 1 << 16;

/**
 * A file's bytes, piece by piece. Without the native addon each piece is read into memory; with it the pieces
 * are views of one read-only mapping that all threads share.
 */
export class MappedFile {
  readonly byteLength: number;
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
    this.byteLength = fstatSync(this.#file).size;
  }

  /**
   * The bytes [offset, offset + length), alone in an ArrayBuffer that starts with them, so that any typed
   * array over them is aligned. Never to be written to.
   */
  piece(offset: number, length: number): ArrayBuffer {
    if (offset < 0 || length < 0 || offset + length > this.byteLength) {
      throw new RangeError(`bytes ${offset} to ${offset + length} of a file of ${this.byteLength}`);
    }
    const mapped = length < MAP_FROM_BYTES ? undefined : mapNatively(this.#file, offset, length);
    if (mapped !== undefined) return mapped;
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const count = readSync(this.#file, bytes, at, Math.min(length - at, 1 << 30), offset + at);
      if (count === 0) throw new RangeError(`the file ends at ${offset + at}`);
      at += count;
    }
    return bytes.buffer;
  }

  /** Pieces that were taken stay valid. */
  close(): void {
    closeSync(this.#file);
  }
}
