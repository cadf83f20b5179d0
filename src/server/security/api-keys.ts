import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** What a key may be used for; `admin` includes the others. */
export const scopes = ['recommend', 'write', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** A key as it is kept: enough to recognise it, not enough to make it. */
export interface KeyRecord {
  id: string;
  name: string;
  scopes: Scope[];
  /** Of the whole key, in hex. */
  sha256: string;
  createdAt: string;
  expiresAt?: string;
  revokedAt?: string;
}

export const KEY_ID = /^[0-9a-f]{16}$/;
/** `esp_<id>_<32 random bytes>`: the id finds the record, so that one digest is compared and not all of them. */
const KEY = /^esp_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$/;
const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** Compared with where there is no such key, so that the answer takes as long. */
const NO_DIGEST = createHash('sha256').digest('hex');

/** @returns a new key, and its id. */
export function makeKey(): { key: string; id: string } {
  const id = randomBytes(ID_BYTES).toString('hex');
  return { key: `esp_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`, id };
}

/** The id within a key; undefined where it does not look like one. */
export function idOf(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}

/**
 * SHA-256 and not a slow password hash: a key is 256 random bits, which nobody finds by trying, and it is hashed for
 * every request.
 */
export function digestOf(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** Whether a key is the one of a record, in a time that does not tell how far they agree. */
export function isKeyOf(key: string, record: KeyRecord | undefined): boolean {
  const isSame = timingSafeEqual(
    Buffer.from(digestOf(key), 'hex'),
    Buffer.from(record?.sha256 ?? NO_DIGEST, 'hex'),
  );
  return isSame && record !== undefined;
}

/** Why a key that was right once is not any more. */
export function endOfKey({ expiresAt, revokedAt }: KeyRecord, nowMs: number): string | undefined {
  if (revokedAt !== undefined) return `was revoked at ${revokedAt}`;
  return expiresAt !== undefined && Date.parse(expiresAt) <= nowMs ? `expired at ${expiresAt}` : undefined;
}
