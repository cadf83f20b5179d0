import { chownSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { type Static, Type } from 'typebox';
import { EspalierError } from '../../errors.js';
import { orWriteFailure, writeDurably } from '../../static-trie/index.js';
import { lockDataDir } from '../data-dir-lock.js';
import { digestOf, endOfKey, KEY_ID, type KeyRecord, makeKey, type Scope, scopes } from './api-keys.js';

/** The file of the API keys: `keys.json` in the data directory, which the `keys` commands change. */

export const MAX_KEYS = 10_000;
export const KEY_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DAY_MS = 86_400_000;
const LOCK_TIMEOUT_MS = 5_000;
const LOCK_RETRY_MS = 20;

const Time = Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' });
const KeyFile = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          id: Type.String({ pattern: KEY_ID.source }),
          name: Type.String({ pattern: KEY_NAME.source }),
          scopes: Type.Array(Type.Enum([...scopes]), { minItems: 1 }),
          sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
          createdAt: Time,
          expiresAt: Type.Optional(Time),
          revokedAt: Type.Optional(Time),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

export interface NewKey {
  name: string;
  scopes: readonly Scope[];
  expiresInDays?: number;
}

export function keyFilePath(dataDir: string): string {
  return join(dataDir, 'keys.json');
}

/**
 * @returns undefined where there is no file.
 * @throws EspalierError ESP_KEYS_UNAVAILABLE on a file that cannot be read, or says something else than keys
 */
export function readKeyFile(dataDir: string): KeyRecord[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(keyFilePath(dataDir), 'utf8'));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw unreadable(code ?? 'it is not JSON', cause);
  }
  const isKeyFile = new Ajv({ validateSchema: false, meta: false }).compile<Static<typeof KeyFile>>(KeyFile);
  if (!isKeyFile(json)) throw unreadable('it does not hold keys');
  const { keys } = json;
  if (new Set(keys.map(({ id }) => id)).size < keys.length) throw unreadable('an id comes twice');
  return keys;
}

/**
 * Adds a key; what it returns is the only copy of it.
 * @throws EspalierError ESP_KEY_CONFLICT where a key that is still good has the name, or there are too many;
 *   ESP_KEYS_UNAVAILABLE, ESP_DATA_DIR, ESP_WRITE_FAILED
 */
export async function createKey(
  dataDir: string,
  { name, scopes: wanted, expiresInDays }: NewKey,
): Promise<{ key: string; record: KeyRecord }> {
  return changeKeys(dataDir, (keys) => {
    const now = Date.now();
    if (keys.some((one) => one.name === name && endOfKey(one, now) === undefined)) {
      throw new EspalierError(
        'ESP_KEY_CONFLICT',
        `there is a key ${name}; revoke it first, or choose another name`,
      );
    }
    if (keys.length >= MAX_KEYS)
      throw new EspalierError('ESP_KEY_CONFLICT', `there are ${MAX_KEYS} keys already`);
    const { key, id } = makeKey();
    const record: KeyRecord = {
      id,
      name,
      scopes: scopes.filter((scope) => wanted.includes(scope)),
      sha256: digestOf(key),
      createdAt: new Date(now).toISOString(),
      ...(expiresInDays !== undefined && { expiresAt: new Date(now + expiresInDays * DAY_MS).toISOString() }),
    };
    return { keys: [...keys, record], result: { key, record } };
  });
}

/**
 * Ends a key for good. Its record stays, so that the audit log's names keep their meaning.
 * @param which its id, or its name
 * @throws EspalierError ESP_KEY_NOT_FOUND; ESP_KEYS_UNAVAILABLE, ESP_DATA_DIR, ESP_WRITE_FAILED
 */
export async function revokeKey(dataDir: string, which: string): Promise<KeyRecord> {
  return changeKeys(dataDir, (keys) => {
    const isGood = ({ revokedAt }: KeyRecord) => revokedAt === undefined;
    const found =
      keys.find((one) => one.id === which && isGood(one)) ??
      // An expired key may have had the name, too: the newest one has it now.
      keys.findLast((one) => one.name === which && isGood(one));
    if (found === undefined) {
      throw new EspalierError('ESP_KEY_NOT_FOUND', `there is no key ${which} that is not revoked yet`);
    }
    const revoked = { ...found, revokedAt: new Date().toISOString() };
    return { keys: keys.map((one) => (one === found ? revoked : one)), result: revoked };
  });
}

type Change<Result> = (keys: KeyRecord[]) => { keys: KeyRecord[]; result: Result };

/** One change at a time, whatever process makes it. */
async function changeKeys<Result>(dataDir: string, change: Change<Result>): Promise<Result> {
  orWriteFailure(dataDir, () => mkdirSync(dataDir, { recursive: true }));
  const unlock = await lockKeys(dataDir);
  try {
    const { keys, result } = change(readKeyFile(dataDir) ?? []);
    const path = keyFilePath(dataDir);
    writeDurably(path, [`${JSON.stringify({ keys }, null, 2)}\n`], 0o600);
    giveToOwner(path, dataDir);
    return result;
  } finally {
    unlock();
  }
}

/** A lock of the keys' own: the server has that of the directory. */
async function lockKeys(dataDir: string): Promise<() => void> {
  const folder = join(dataDir, 'keys-lock');
  for (const deadlineMs = performance.now() + LOCK_TIMEOUT_MS; ; ) {
    try {
      const unlock = lockDataDir(folder);
      giveToOwner(folder, dataDir);
      return unlock;
    } catch (thrown) {
      const isTaken = thrown instanceof EspalierError && thrown.cause === undefined;
      if (!isTaken) throw thrown;
      if (performance.now() > deadlineMs) {
        throw new EspalierError('ESP_DATA_DIR', 'another keys command is at work, and does not end');
      }
      await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
    }
  }
}

/** Root may make keys for a server that runs as somebody else, and must be able to read them. */
export function giveToOwner(path: string, dataDir: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(dataDir);
  orWriteFailure(path, () => chownSync(path, uid, gid));
}

function unreadable(why: string, cause?: unknown): EspalierError {
  return new EspalierError('ESP_KEYS_UNAVAILABLE', `the API keys cannot be read: ${why}`, { cause });
}
