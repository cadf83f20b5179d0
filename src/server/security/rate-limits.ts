import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { type Config, redactUrl } from '../config.js';
import type { RedisLink } from '../jobs/bullmq/index.js';

export type LimitKind = 'recommend' | 'write';

/** What is left of a limit. */
export interface Quota {
  limit: number;
  remaining: number;
  resetSeconds: number;
  isExceeded: boolean;
}

interface Caller {
  kind: LimitKind;
  who: string;
}

const WINDOW_MS = 60_000;
/** Callers that are counted in memory; the ones that came first are forgotten. */
const MAX_CALLERS = 10_000;
const NAME_SPACE = 'espalier:limit:';

/**
 * Requests per minute, by key or address. Servers on one Redis count together; while it is gone nobody is limited,
 * since a limit is there to protect what answers, not to stop it.
 */
export class RateLimits {
  readonly #config: Pick<Config, 'rateLimitPerMinute' | 'writeRateLimitPerMinute' | 'redisUrl'>;
  readonly #logger: Pick<Logger, 'info' | 'warn'>;
  #count: ((caller: Caller) => Promise<Quota | undefined>) | undefined;
  #link: RedisLink | undefined;

  constructor(
    config: Pick<Config, 'rateLimitPerMinute' | 'writeRateLimitPerMinute' | 'redisUrl'>,
    logger: Pick<Logger, 'info' | 'warn'>,
  ) {
    this.#config = config;
    this.#logger = logger;
  }

  /** Must have returned before requests come. @param app whose plugin counts, for other protocols as well */
  async start(app: FastifyInstance): Promise<void> {
    const { rateLimitPerMinute, writeRateLimitPerMinute } = this.#config;
    const perMinute = { recommend: rateLimitPerMinute, write: writeRateLimitPerMinute };
    if (rateLimitPerMinute + writeRateLimitPerMinute === 0) return;
    this.#link = await this.#connect();
    await app.register(rateLimit, {
      global: false,
      skipOnError: true,
      cache: MAX_CALLERS,
      timeWindow: WINDOW_MS,
      max: (caller) => perMinute[asCaller(caller).kind],
      keyGenerator: (caller) => `${asCaller(caller).kind}:${asCaller(caller).who}`,
      ...(this.#link !== undefined && { redis: this.#link.redis, nameSpace: NAME_SPACE }),
    });
    const limit = app.createRateLimit();
    this.#count = async (caller) => {
      // A Redis that hangs would keep each request for as long as a command may take.
      if (perMinute[caller.kind] === 0 || this.#link?.unavailable() !== undefined) return undefined;
      // The plugin reads nothing of a request but what is here, so that one that did not come by HTTP is counted alike.
      const found = await limit({ ...caller, routeOptions: { config: {} } } as unknown as FastifyRequest);
      if (found.isAllowed) throw new Error('the rate limit has no list of callers that it lets pass');
      const { max, remaining, ttlInSeconds: resetSeconds, isExceeded } = found;
      return { limit: max, remaining, resetSeconds, isExceeded };
    };
  }

  /** @returns undefined where there is no limit, or Redis does not answer */
  async count(kind: LimitKind, who: string): Promise<Quota | undefined> {
    return this.#count?.({ kind, who });
  }

  close(): void {
    this.#link?.close();
  }

  async #connect(): Promise<RedisLink | undefined> {
    const { redisUrl } = this.#config;
    if (redisUrl === undefined) return undefined;
    // Only where there is a Redis: it takes a while to load.
    const { RedisLink } = await import('../jobs/bullmq/index.js');
    const name = redactUrl(redisUrl);
    return new RedisLink(redisUrl, (isThere) => {
      if (isThere) this.#logger.info(`rate limits are counted on Redis at ${name}`);
      else this.#logger.warn(`Redis at ${name} does not answer; nobody is rate-limited meanwhile`);
    });
  }
}

function asCaller(request: FastifyRequest): Caller {
  return request as unknown as Caller;
}
