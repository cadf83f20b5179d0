import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '../errors.js';

interface Owner {
  pid: number;
  /** When the process started, so that another process that got the same number is not taken for it. */
  startedAt: string;
}

/**
 * Makes the data directory this process's own; two servers on one directory would destroy each other's
 * uploads. A lock that a killed server left behind is taken over.
 * @returns gives the directory back.
 * @throws EspalierError ESP_DATA_DIR
 */
export function lockDataDir(dataDir: string): () => void {
  const path = join(dataDir, 'server.lock');
  const self: Owner = { pid: process.pid, startedAt: startOf(process.pid) };
  try {
    mkdirSync(dataDir, { recursive: true });
    const owner = readOwner(path);
    if (owner !== undefined && isAlive(owner)) {
      throw new EspalierError(
        'ESP_DATA_DIR',
        `another server (process ${owner.pid}) uses the data directory`,
      );
    }
    rmSync(path, { force: true });
    // 'wx': of two servers that start at once, one gets it.
    writeFileSync(path, JSON.stringify(self), { flag: 'wx' });
  } catch (cause) {
    if (cause instanceof EspalierError) throw cause;
    const message = `the data directory ${dataDir} cannot be used: ${(cause as Error).message}`;
    throw new EspalierError('ESP_DATA_DIR', message, { cause });
  }
  return () => rmSync(path, { force: true });
}

function readOwner(path: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}

function isAlive({ pid, startedAt }: Owner): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return startOf(pid) === startedAt;
}

/** Linux tells when a process started (field 22 of its stat); elsewhere the number alone must do. */
function startOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[19];
  } catch {
    return 'unknown';
  }
}
