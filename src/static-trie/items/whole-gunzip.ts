import type { TransformCallback } from 'node:stream';
import { Gunzip } from 'node:zlib';

/**
 * Unpacks gzip of one member or several, all of it. zlib's own Gunzip takes a zero byte where a member would begin for
 * padding, and ends there without a word, whatever follows: one damaged byte would drop the rest of an upload. Here
 * zeros may follow the last member up to the end, as gzip allows, and nothing else; otherwise it fails with
 * `Z_DATA_ERROR`, as on any other damage.
 */
export class WholeGunzip extends Gunzip {
  #given = 0;
  #isPadding = false;
  #isFlushed = false;

  override _transform(chunk: Buffer, encoding: BufferEncoding, done: TransformCallback): void {
    if (this.#isPadding) {
      done(nonZeroFault(chunk));
      return;
    }
    this.#given += chunk.length;
    super._transform(chunk, encoding, (error) => {
      // What it was given and has not taken comes after the end that it has seen.
      const left = this.#given - this.bytesWritten;
      this.#isPadding = left > 0;
      done(error ?? (this.#isPadding ? nonZeroFault(chunk.subarray(chunk.length - left)) : null));
    });
  }

  override _flush(done: TransformCallback): void {
    this.#isFlushed = true;
    if (this.#isPadding) done();
    else super._flush(done);
  }

  /** Gunzip ends its output with the padding's first byte; but only the input's end shows that all of it was good. */
  override push(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (chunk === null && !this.#isFlushed) return true;
    return super.push(chunk, encoding);
  }
}

function nonZeroFault(bytes: Buffer): Error | null {
  if (bytes.every((byte) => byte === 0)) return null;
  return Object.assign(new Error('neither a member nor zeros alone follow the end of a member'), {
    code: 'Z_DATA_ERROR',
  });
}
