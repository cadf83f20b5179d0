import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { EspalierError } from '../errors.js';

/**
 * Writes a file so that a crash at any moment leaves the old content or the new, never a mixture:
 * temporary file → fsync → rename → fsync of the folder.
 * @param mode who may read it, where that is not everybody
 * @throws EspalierError ESP_WRITE_FAILED where the system refuses (a full disk, no permission)
 */
export function writeDurably(path: string, chunks: Iterable<Uint8Array | string>, mode = 0o666): void {
  const temporary = `${path}.${process.pid}.tmp`;
  let isOpened = false;
  try {
    const file = openSync(temporary, 'w', mode);
    isOpened = true;
    try {
      for (const chunk of chunks) writeAll(file, typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (thrown) {
    if (isOpened) rmSync(temporary, { force: true });
    throw writeFailure(path, thrown);
  }
  syncName(path);
}

/**
 * Does something to a file or a folder.
 * @throws EspalierError ESP_WRITE_FAILED where the system refuses
 */
export function orWriteFailure<Result>(path: string, change: () => Result): Result {
  try {
    return change();
  } catch (thrown) {
    throw writeFailure(path, thrown);
  }
}

/**
 * What the system said, as an error for callers: by the file's own name, because the way to it on this machine is
 * not for clients. Anything else is returned as it is.
 */
export function writeFailure(path: string, thrown: unknown): unknown {
  return failure(path, thrown, 'written', 'what had that name before is unchanged');
}

function failure(path: string, thrown: unknown, what: string, outcome: string): unknown {
  if (!isSystemError(thrown)) return thrown;
  // "ENOSPC: no space left on device, write" and what follows the comma may be a path.
  const [reason] = thrown.message.split(',');
  const message = `${basename(path)} cannot be ${what}: ${reason}; ${outcome}`;
  return new EspalierError('ESP_WRITE_FAILED', message, { cause: thrown });
}

export function isSystemError(thrown: unknown): thrown is NodeJS.ErrnoException {
  return thrown instanceof Error && 'errno' in thrown && 'syscall' in thrown;
}

/**
 * Makes it durable that a file or a folder was made, renamed or removed.
 * @throws EspalierError ESP_WRITE_FAILED, which says that the change is there: a restart finds it
 */
export function syncName(path: string): void {
  try {
    syncFolder(dirname(path));
  } catch (thrown) {
    throw failure(path, thrown, 'made durable', 'it is changed, but a power cut may take that back');
  }
}

/** Makes the names in a folder (renames, new files) durable. */
export function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * One write may take only a part of the bytes.
 * @param at where in the file; left out, where the last write ended
 */
export function writeAll(file: number, bytes: Uint8Array, at?: number): void {
  for (let written = 0; written < bytes.length; ) {
    const position = at === undefined ? null : at + written;
    written += writeSync(file, bytes, written, bytes.length - written, position);
  }
}
