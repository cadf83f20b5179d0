import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '../errors.js';

interface Owner {
  pid: number;
  /** When the process started, so that another process that got the same number is not taken for it. */
  startedAt: string;
}

/** `server.<n>.lock`; one without a number was an earlier server's. */
const LOCK_FILE = /^server(?:\.(\d+))?\.lock$/;
/** A lock that says nothing for so long was torn by a kill or a full disk. */
const WRITING_MS = 1_000;
const LOOK_AGAIN_MS = 10;

/**
 * Makes the data directory this process's own; two servers on one directory would destroy each other's
 * uploads. A lock that a killed server left behind is taken over.
 *
 * The lock with the highest number counts. Who finds its owner gone creates the next number, which succeeds for one
 * process alone, and only then removes lower ones: removing first would also remove what another one, just as quick,
 * has put there. Numbers never fall, so that one who was slow finds a higher one, and gives way.
 * @returns gives the directory back.
 * @throws EspalierError ESP_DATA_DIR
 */
export function lockDataDir(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true });
    const path = takeLock(dataDir, JSON.stringify({ pid: process.pid, startedAt: startOf(process.pid) }));
    return () => release(path);
  } catch (cause) {
    if (cause instanceof EspalierError) throw cause;
    const message = `the data directory ${dataDir} cannot be used: ${(cause as Error).message}`;
    throw new EspalierError('ESP_DATA_DIR', message, { cause });
  }
}

/** The process of the server that uses a data directory now; undefined where there is none. */
export function serverOf(dataDir: string): number | undefined {
  const newest = locksIn(dataDir).at(-1);
  const owner = newest && readOwner(join(dataDir, newest.file));
  return owner !== undefined && isAlive(owner) ? owner.pid : undefined;
}

function takeLock(dataDir: string, self: string): string {
  for (;;) {
    const newest = locksIn(dataDir).at(-1);
    const owner = newest && readOwner(join(dataDir, newest.file));
    if (owner !== undefined && isAlive(owner)) {
      throw new EspalierError(
        'ESP_DATA_DIR',
        `another server (process ${owner.pid}) uses the data directory`,
      );
    }
    const number = (newest?.number ?? 0) + 1;
    const path = join(dataDir, `server.${number}.lock`);
    if (!create(path, self)) continue;
    const locks = locksIn(dataDir);
    if (locks.at(-1)!.number === number) {
      for (const { file } of locks.slice(0, -1)) rmSync(join(dataDir, file), { force: true });
      return path;
    }
    rmSync(path, { force: true });
  }
}

/** Ascending. */
function locksIn(dataDir: string): { file: string; number: number }[] {
  return readdirSync(dataDir)
    .map((file) => ({ file, found: LOCK_FILE.exec(file) }))
    .flatMap(({ file, found }) => (found === null ? [] : [{ file, number: Number(found[1] ?? 0) }]))
    .sort((a, b) => a.number - b.number);
}

/** @returns false where there is one already. */
function create(path: string, content: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw thrown;
  }
  try {
    writeFileSync(file, content);
    return true;
  } catch (thrown) {
    rmSync(path, { force: true });
    throw thrown;
  } finally {
    closeSync(file);
  }
}

/** It stays, as the highest number; its owner may be taken for alive where processes can't be told apart. */
function release(path: string): void {
  try {
    writeFileSync(path, '{}');
  } catch {
    // A process that has ended holds nothing, whatever its lock says.
  }
}

/** @returns undefined where nobody owns it. */
function readOwner(path: string): Owner | undefined {
  for (const deadline = Date.now() + WRITING_MS; ; sleep(LOOK_AGAIN_MS)) {
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as Owner;
    } catch (thrown) {
      const isTorn = thrown instanceof SyntaxError;
      if (!isTorn || Date.now() > deadline) return undefined;
    }
  }
}

function isAlive({ pid, startedAt }: Owner): boolean {
  if (pid === undefined || pid === process.pid) return false;
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

/** At the start of a server, before there is anything else that this thread could do. */
function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
