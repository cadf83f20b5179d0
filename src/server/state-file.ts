import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { EspalierError } from '../errors.js';
import { isSystemError, orWriteFailure, syncName, writeDurably } from '../static-trie/index.js';

/** JSON files of the data directory. Writes are durable when they return. */

/**
 * @param looksRight whether what a reader relies on is there: damage may leave JSON behind
 * @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is gone, is no JSON, or does not look right
 */
export function readState<Type>(path: string, looksRight: (json: Type) => boolean = () => true): Type {
  try {
    const json: unknown = JSON.parse(readFileSync(path, 'utf8'));
    const isObject = typeof json === 'object' && json !== null;
    if (isObject && looksRight(json as Type)) return json as Type;
    throw new Error(`its JSON is not what was written${isObject ? '' : ': expected an object or a list'}`);
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
  orWriteFailure(path, () => mkdirSync(path, { recursive: true }));
  syncName(path);
}

/** Removes what a write left behind that was interrupted before its rename. */
export function removeTemporaryFiles(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name.endsWith('.tmp')) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
