import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EspalierError } from '../../../src/errors.js';
import { idOf, isKeyOf } from '../../../src/server/security/api-keys.js';
import { FailedAttempts } from '../../../src/server/security/failed-attempts.js';
import { Gatekeeper } from '../../../src/server/security/gatekeeper.js';
import { createKey, readKeyFile, revokeKey } from '../../../src/server/security/key-file.js';
import { KeyStore } from '../../../src/server/security/key-store.js';
import { RateLimits } from '../../../src/server/security/rate-limits.js';
import type { Need } from '../../../src/server/security/route-scopes.js';
import { SecurityMetrics } from '../../../src/server/security/security-metrics.js';

let dataDir: string;
let store: KeyStore;
let gatekeeper: Gatekeeper;
const metrics = new SecurityMetrics(new Registry());
const keyFile = () => join(dataDir, 'keys.json');

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'espalier-keys-'));
  store = new KeyStore(dataDir);
  const limits = new RateLimits({ rateLimitPerMinute: 0, writeRateLimitPerMinute: 0 }, console);
  gatekeeper = new Gatekeeper({ keys: store, limits, metrics, openMetrics: false });
});
afterEach(() => {
  store.close();
  rmSync(dataDir, { recursive: true });
});

/** What comes of a key: its name, or the code of the error. */
function authorize(key: string | undefined, need: Need = 'recommend', address?: string): string | null {
  try {
    return gatekeeper.authorize(key && `Bearer ${key}`, need, address).name;
  } catch (thrown) {
    return EspalierError.from(thrown).code;
  }
}

describe('the key file', () => {
  it('holds no key, and is read by its owner alone', async () => {
    const { key, record } = await createKey(dataDir, { name: 'shop', scopes: ['recommend'] });
    expect(idOf(key)).toBe(record.id);
    const text = readFileSync(keyFile(), 'utf8');
    expect(text).not.toContain(key.split('_').slice(2).join('_'));
    expect(statSync(keyFile()).mode & 0o777).toBe(0o600);
    await revokeKey(dataDir, 'shop');
    expect(statSync(keyFile()).mode & 0o777).toBe(0o600);
  });

  it('gives a name to one good key only, and to another when that has ended', async () => {
    const first = await createKey(dataDir, { name: 'shop', scopes: ['recommend'] });
    await expect(createKey(dataDir, { name: 'shop', scopes: ['admin'] })).rejects.toMatchObject({
      code: 'ESP_KEY_CONFLICT',
    });
    await revokeKey(dataDir, first.record.id);
    await createKey(dataDir, { name: 'shop', scopes: ['recommend'] });
    await expect(revokeKey(dataDir, first.record.id)).rejects.toMatchObject({ code: 'ESP_KEY_NOT_FOUND' });
  });

  it.each([
    ['not JSON', '{"keys": ['],
    ['something else', '[]'],
    ['an unknown scope', '{"keys": [{"id": "x"}]}'],
    ['empty', ''],
  ])('is refused when it is %s', async (_, text) => {
    writeFileSync(keyFile(), text);
    expect(() => readKeyFile(dataDir)).toThrow(expect.objectContaining({ code: 'ESP_KEYS_UNAVAILABLE' }));
    await expect(createKey(dataDir, { name: 'a', scopes: ['admin'] })).rejects.toMatchObject({
      code: 'ESP_KEYS_UNAVAILABLE',
    });
    expect(readFileSync(keyFile(), 'utf8')).toBe(text);
  });
});

describe('a key', () => {
  it('is recognised by all of it', async () => {
    const { key, record } = await createKey(dataDir, { name: 'shop', scopes: ['recommend'] });
    expect(isKeyOf(key, record)).toBe(true);
    const last = key.at(-1) === 'A' ? 'B' : 'A';
    expect(isKeyOf(key.slice(0, -1) + last, record)).toBe(false);
    expect(isKeyOf(key, undefined)).toBe(false);
  });

  it.each([
    [
      ['recommend'],
      { recommend: 'k', anyKey: 'k', write: 'ESP_FORBIDDEN', admin: 'ESP_FORBIDDEN', open: null },
    ],
    [['write'], { recommend: 'ESP_FORBIDDEN', anyKey: 'k', write: 'k', admin: 'ESP_FORBIDDEN', open: null }],
    [['admin'], { recommend: 'k', anyKey: 'k', write: 'k', admin: 'k', open: null }],
  ] as const)('with the scopes %s may do what they say', async (scopes, expected) => {
    const { key } = await createKey(dataDir, { name: 'k', scopes });
    await store.look();
    for (const [need, outcome] of Object.entries(expected)) {
      expect([need, authorize(key, need as Need)]).toEqual([need, outcome]);
    }
  });

  it('works at once, and no longer when it is revoked or has expired', async () => {
    expect(authorize(undefined, 'admin')).toBeNull();
    const { key } = await createKey(dataDir, { name: 'k', scopes: ['admin'] });
    await store.look();
    expect(authorize(undefined, 'admin')).toBe('ESP_UNAUTHENTICATED');
    expect(authorize(key, 'admin')).toBe('k');
    await revokeKey(dataDir, 'k');
    await store.look();
    expect(authorize(key, 'admin')).toBe('ESP_UNAUTHENTICATED');
    // Nobody has a key any more; that does not open the door.
    expect(authorize(undefined, 'recommend')).toBe('ESP_UNAUTHENTICATED');

    const late = await createKey(dataDir, { name: 'k2', scopes: ['admin'], expiresInDays: 1 });
    await store.look();
    expect(authorize(late.key)).toBe('k2');
    const past = readFileSync(keyFile(), 'utf8').replace(late.record.expiresAt!, '2020-01-01T00:00:00.000Z');
    writeFileSync(keyFile(), past);
    await store.look();
    expect(authorize(late.key)).toBe('ESP_UNAUTHENTICATED');
  });

  it.each([
    'Basic abc',
    'Bearer',
    'Bearer esp_',
    'Bearer  ',
    'esp_x',
    `Bearer esp_${'0'.repeat(16)}_${'A'.repeat(43)}`,
  ])('is not %s', async (header) => {
    await createKey(dataDir, { name: 'k', scopes: ['admin'] });
    await store.look();
    expect(() => gatekeeper.authorize(header, 'anyKey')).toThrow(
      expect.objectContaining({ code: 'ESP_UNAUTHENTICATED' }),
    );
  });
});

describe('keys that cannot be read', () => {
  it.each([
    ['damaged', () => writeFileSync(keyFile(), '{')],
    ['gone', () => rmSync(keyFile())],
    ['emptied', () => writeFileSync(keyFile(), '')],
  ])('let nobody in when their file is %s, until it is well again', async (_, damage) => {
    const { key } = await createKey(dataDir, { name: 'k', scopes: ['admin'] });
    await store.look();
    const text = readFileSync(keyFile(), 'utf8');
    damage();
    await store.look();
    expect(gatekeeper.isOpen).toBe(false);
    expect(gatekeeper.failure?.code).toBe('ESP_KEYS_UNAVAILABLE');
    expect(authorize(key)).toBe('ESP_KEYS_UNAVAILABLE');
    expect(authorize(undefined)).toBe('ESP_UNAUTHENTICATED');
    writeFileSync(keyFile(), text);
    await store.look();
    expect(authorize(key)).toBe('k');
  });

  it('let nobody in from the start', () => {
    writeFileSync(keyFile(), 'x');
    const later = new KeyStore(dataDir);
    expect(later.areRequired).toBe(true);
    later.close();
  });
});

describe('wrong keys', () => {
  it('are told to wait after many from one address, while right ones work', async () => {
    const { key } = await createKey(dataDir, { name: 'k', scopes: ['recommend'] });
    await store.look();
    for (let attempt = 0; attempt < 30; attempt++) {
      expect(authorize('wrong', 'recommend', '10.0.0.1')).toBe('ESP_UNAUTHENTICATED');
    }
    expect(authorize('wrong', 'recommend', '10.0.0.1')).toBe('ESP_RATE_LIMITED');
    expect(authorize('wrong', 'recommend', '10.0.0.2')).toBe('ESP_UNAUTHENTICATED');
    expect(authorize(key, 'recommend', '10.0.0.1')).toBe('k');
  });

  it('are forgotten after a minute', () => {
    const attempts = new FailedAttempts();
    for (let count = 0; count < 30; count++) expect(attempts.note('a', 0)).toBeUndefined();
    expect(attempts.note('a', 59_000)).toBe(1);
    expect(attempts.note('a', 60_000)).toBeUndefined();
  });
});
