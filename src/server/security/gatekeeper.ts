import { EspalierError } from '../../errors.js';
import { endOfKey, idOf, isKeyOf, type KeyRecord, type Scope, scopes } from './api-keys.js';
import { FailedAttempts } from './failed-attempts.js';
import type { KeyStore } from './key-store.js';
import type { LimitKind, Quota, RateLimits } from './rate-limits.js';
import { type Need, needOf } from './route-scopes.js';
import type { KeyRefusal, SecurityMetrics } from './security-metrics.js';

/** Who asks. */
export interface Principal {
  /** Of its key; null without keys. */
  name: string | null;
  keyId: string | null;
  scopes: readonly Scope[];
}

export interface GatekeeperDeps {
  keys: KeyStore;
  limits: RateLimits;
  metrics: SecurityMetrics;
  /** Lets anyone read the metrics. */
  openMetrics: boolean;
}

/** Who needs no key, or shows none where none is needed. */
const ANYONE: Principal = { name: null, keyId: null, scopes: [] };
/** Everybody, as long as there are no keys. */
const OWNER: Principal = { name: null, keyId: null, scopes };

/** Lets requests in, whatever protocol they come by: checks their key, and counts them. */
export class Gatekeeper {
  readonly #deps: GatekeeperDeps;
  readonly #failedAttempts = new FailedAttempts();

  constructor(deps: GatekeeperDeps) {
    this.#deps = deps;
  }

  /** Whether anybody may do anything, because there are no keys. */
  get isOpen(): boolean {
    return !this.#deps.keys.areRequired;
  }

  /** Why no key can be checked, for the readiness probe. */
  get failure(): EspalierError | undefined {
    return this.#deps.keys.failure;
  }

  /** What it takes to call a route, by the configuration as well. @param pattern undefined for what is no route */
  needOf(method: string, pattern: string | undefined): Need {
    const need = needOf(method, pattern);
    return this.#deps.openMetrics && pattern === '/metrics' ? 'open' : need;
  }

  /**
   * @param authorization the header, or the metadata, as it came
   * @param address whose wrong keys are counted; left out, they are not
   * @throws EspalierError ESP_UNAUTHENTICATED, ESP_FORBIDDEN; ESP_KEYS_UNAVAILABLE while the keys cannot be read;
   *   ESP_RATE_LIMITED after too many wrong keys
   */
  authorize(authorization: string | undefined, need: Need, address?: string): Principal {
    if (this.isOpen) return OWNER;
    if (need === 'open') return ANYONE;
    const record = this.#recordOf(authorization, address);
    const principal = { name: record.name, keyId: record.id, scopes: record.scopes };
    const isAllowed = need === 'anyKey' || record.scopes.includes(need) || record.scopes.includes('admin');
    if (isAllowed) return principal;
    this.#deps.metrics.refusals.inc({ reason: 'scope' satisfies KeyRefusal });
    const message = `this needs an API key with the scope ${need}; ${record.name} has ${record.scopes.join(', ')}`;
    throw new EspalierError('ESP_FORBIDDEN', message, {
      details: [{ field: 'authorization', expected: `the scope ${need}`, found: record.scopes.join(', ') }],
    });
  }

  /**
   * Counts a request against the limit of its kind.
   * @param tell gets what is left of it, whether or not it is refused; nothing where there is no limit
   * @throws EspalierError ESP_RATE_LIMITED
   */
  async count(
    kind: LimitKind,
    principal: Principal,
    address: string,
    tell: (quota: Quota) => void = () => {},
  ): Promise<void> {
    const { limits, metrics } = this.#deps;
    const quota = await limits.count(kind, principal.keyId ?? address);
    if (quota === undefined) return;
    tell(quota);
    if (!quota.isExceeded) return;
    metrics.rateLimited.inc({ kind });
    const { limit, resetSeconds } = quota;
    const message = `more than ${limit} requests of the kind ${kind} in a minute; try again in ${resetSeconds} s`;
    throw new EspalierError('ESP_RATE_LIMITED', message, { retryAfterSeconds: resetSeconds });
  }

  #recordOf(authorization: string | undefined, address: string | undefined): KeyRecord {
    if (authorization === undefined) {
      throw this.#unauthenticated('missing', 'an API key is needed: authorization: Bearer esp_…', address);
    }
    const key = /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? '';
    const id = idOf(key);
    if (id === undefined) {
      throw this.#unauthenticated(
        'malformed',
        'authorization: expected Bearer and an API key, esp_…',
        address,
      );
    }
    const record = this.#find(id);
    if (!isKeyOf(key, record)) throw this.#unauthenticated('unknown', 'there is no such API key', address);
    const end = endOfKey(record!, Date.now());
    if (end === undefined) return record!;
    throw this.#unauthenticated('ended', `the API key ${record!.name} ${end}`, address);
  }

  #find(id: string): KeyRecord | undefined {
    try {
      return this.#deps.keys.find(id);
    } catch (thrown) {
      this.#deps.metrics.refusals.inc({ reason: 'unreadable' satisfies KeyRefusal });
      throw thrown;
    }
  }

  #unauthenticated(reason: KeyRefusal, message: string, address: string | undefined): EspalierError {
    this.#deps.metrics.refusals.inc({ reason });
    const waitSeconds = address === undefined ? undefined : this.#failedAttempts.note(address);
    if (waitSeconds === undefined) return new EspalierError('ESP_UNAUTHENTICATED', message);
    return new EspalierError(
      'ESP_RATE_LIMITED',
      'too many requests without a valid API key came from this address',
      {
        retryAfterSeconds: waitSeconds,
      },
    );
  }
}

/**
 * What a request shows: `authorization`, or the key alone as `x-api-key`.
 * @throws EspalierError ESP_UNAUTHENTICATED where both are there and only one can be meant
 */
export function credentialsOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string | undefined {
  const { authorization, 'x-api-key': apiKey } = headers;
  if (apiKey === undefined) return authorization as string | undefined;
  if (authorization === undefined) return `Bearer ${apiKey}`;
  throw new EspalierError('ESP_UNAUTHENTICATED', 'expected authorization or x-api-key, found both');
}
