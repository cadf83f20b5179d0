import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '../errors.js';
import { readState, writeState } from './state-file.js';

const FILE = 'data-dir.json';

/** Makes what tells a data directory from all others, wherever it is mounted; the first server that uses it does. */
export function ensureIdentity(dataDir: string): void {
  if (!existsSync(join(dataDir, FILE))) writeState(join(dataDir, FILE), { id: randomUUID() });
}

/** @throws EspalierError ESP_DATA_DIR where no server has used the directory yet; ESP_ARTIFACT_CORRUPT */
export function readIdentity(dataDir: string): string {
  if (!existsSync(join(dataDir, FILE))) {
    const message = `${dataDir} is no data directory: expected ${FILE} in it, which a server writes; found none`;
    throw new EspalierError('ESP_DATA_DIR', message);
  }
  return readState<{ id: string }>(join(dataDir, FILE), ({ id }) => typeof id === 'string' && id !== '').id;
}
