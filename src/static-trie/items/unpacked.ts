import { createReadStream, createWriteStream, rmSync, statSync } from 'node:fs';
import { Readable, Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EspalierError } from '../../errors.js';
import type { ByteBudget } from './byte-budget.js';
import type { ItemFile, SourceOptions } from './item-source.js';
import { unreadable } from './unreadable.js';
import { WholeGunzip } from './whole-gunzip.js';

/** Progress is told in steps of so much. */
const STEP = 1 / 256;

/**
 * The bytes of a file, unpacked where they are packed.
 * @throws EspalierError (while it is read) ESP_UPLOAD_INVALID on what is no gzip; ESP_BODY_TOO_LARGE
 */
export async function* unpackedBytes(
  { path, isGzip }: ItemFile,
  { budget, onProgress }: Pick<SourceOptions, 'budget' | 'onProgress'>,
): AsyncGenerator<Buffer> {
  const packed = Readable.from(counted(path, onProgress), { objectMode: false });
  if (!isGzip) {
    for await (const chunk of packed) {
      budget.take((chunk as Buffer).length);
      yield chunk as Buffer;
    }
    return;
  }
  const guard = new SizeGuard(budget);
  const done = pipeline(packed, new WholeGunzip(), guard);
  // Whoever reads the guard sees its error; the pipeline's promise repeats it.
  done.catch(() => {});
  try {
    yield* guard;
  } catch (thrown) {
    throw thrown instanceof EspalierError ? thrown : unreadable('gzip', thrown);
  }
}

/** Calls `use` with a file that is not packed: formats that are read out of order need one. */
export async function* withUnpackedFile<T>(
  file: ItemFile,
  options: Pick<SourceOptions, 'budget' | 'onProgress'>,
  use: (path: string) => AsyncGenerator<T>,
): AsyncGenerator<T> {
  if (!file.isGzip) {
    options.budget.take(statSync(file.path).size);
    yield* use(file.path);
    return;
  }
  const path = `${file.path}.unpacked`;
  try {
    const unpacking = (_phase: string, fraction: number) => options.onProgress('unpacking', fraction);
    await pipeline(
      Readable.from(unpackedBytes(file, { ...options, onProgress: unpacking }), { objectMode: false }),
      createWriteStream(path),
    );
    yield* use(path);
  } finally {
    rmSync(path, { force: true });
  }
}

async function* counted(path: string, onProgress: SourceOptions['onProgress']): AsyncGenerator<Buffer> {
  const size = Math.max(1, statSync(path).size);
  let read = 0;
  let told = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) {
    yield chunk as Buffer;
    read += (chunk as Buffer).length;
    if (read / size < told + STEP) continue;
    told = read / size;
    onProgress('parsing', told);
  }
}

class SizeGuard extends Transform {
  readonly #budget: ByteBudget;

  constructor(budget: ByteBudget) {
    super();
    this.#budget = budget;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      this.#budget.take(chunk.length);
      done(null, chunk);
    } catch (thrown) {
      done(thrown as Error);
    }
  }
}
