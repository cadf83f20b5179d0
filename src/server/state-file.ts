import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { EspalierError } from '../errors.js';
import { isSystemError, orWriteFailure, syncFolder, writeDurably } from '../static-trie/index.js';

/** JSON files of the data directory. Writes are durable when they return. */

/** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is not JSON. */
export function readState<Type>(path: string): Type {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Type;
  } catch (cause) {
    // What follows the comma in what the system says may be the path.
    const reason = isSystemError(cause) ? cause.message.split(',')[0] : (cause as Error).message;
    const message = `${basename(path)} cannot be read: ${reason}`;
    throw new EspalierError('ESP_ARTIFACT_CORRUPT', message, { cause });
  }
}

export function writeState(path: string, value: unknown): void {
  writeDurably(path, [`${JSON.stringify(value, null, 2)}\n`]);
}

/** Makes a folder and its name durable. @throws EspalierError ESP_WRITE_FAILED */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  orWriteFailure(path, () => {
    mkdirSync(path, { recursive: true });
    syncFolder(join(path, '..'));
  });
}

/** Removes what a write left behind that was interrupted before its rename. */
export function removeTemporaryFiles(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name.endsWith('.tmp')) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
