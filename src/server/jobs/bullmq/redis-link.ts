import { Redis, type RedisOptions } from 'ioredis';
import { EspalierError } from '../../../errors.js';
import { redactUrl } from '../../config.js';

/** Callers get their answer within a second; what takes longer counts as gone. */
const COMMAND_TIMEOUT_MS = 800;
const PING_INTERVAL_MS = 1_000;
const MAX_RECONNECT_DELAY_MS = 1_000;

/**
 * The connection of whoever asks Redis for something and must not wait for it: commands fail while Redis is gone,
 * and none is sent later, when its caller has been told that it failed.
 */
export class RedisLink {
  readonly redis: Redis;
  readonly #url: string;
  readonly #pinging: NodeJS.Timeout;
  #answers = false;

  /** @param onChange told when Redis is gone, and when it is there again; first when it is known. */
  constructor(url: string, onChange: (isThere: boolean) => void) {
    this.#url = url;
    this.redis = new Redis(url, {
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: COMMAND_TIMEOUT_MS,
      connectTimeout: COMMAND_TIMEOUT_MS,
      retryStrategy: reconnectDelayMs,
    });
    let wasThere: boolean | undefined;
    const note = (isThere: boolean) => {
      this.#answers = isThere;
      if (isThere !== wasThere) onChange(isThere);
      wasThere = isThere;
    };
    // Without a listener an error would end the process; `close` follows each.
    this.redis.on('error', () => {});
    this.redis.on('ready', () => note(true));
    this.redis.on('close', () => note(false));
    // A Redis that hangs keeps its connections.
    const ping = () =>
      this.redis.ping().then(
        () => note(true),
        () => note(false),
      );
    this.#pinging = setInterval(ping, PING_INTERVAL_MS);
  }

  unavailable(): string | undefined {
    return this.#answers ? undefined : `Redis at ${redactUrl(this.#url)} does not answer`;
  }

  /** @throws EspalierError ESP_REDIS_UNAVAILABLE */
  check(): void {
    if (!this.#answers) throw this.error();
  }

  error(cause?: unknown): EspalierError {
    const message = `Redis at ${redactUrl(this.#url)} does not answer`;
    return new EspalierError('ESP_REDIS_UNAVAILABLE', message, { cause });
  }

  /** Waits for Redis to answer for the first time. @throws EspalierError ESP_REDIS_UNAVAILABLE */
  async waitUntilThere(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!this.#answers) {
      if (performance.now() > deadlineMs) throw this.error();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  close(): void {
    clearInterval(this.#pinging);
    this.redis.disconnect();
  }
}

/**
 * A connection on which BullMQ waits for work and events: it waits for Redis to come back, too. BullMQ makes further ones
 * of it, and its own `close` would wait for Redis as well; `disconnect` here ends all of them.
 */
export class WaitingConnection extends Redis {
  readonly #duplicates: Redis[] = [];

  constructor(url: string) {
    super(url, { maxRetriesPerRequest: null, retryStrategy: reconnectDelayMs });
    this.on('error', () => {});
  }

  override duplicate(override?: Partial<RedisOptions>): Redis {
    const duplicate = super.duplicate(override);
    this.#duplicates.push(duplicate);
    return duplicate;
  }

  override disconnect(reconnect?: boolean): void {
    for (const duplicate of this.#duplicates) duplicate.disconnect();
    super.disconnect(reconnect);
  }
}

function reconnectDelayMs(attempt: number): number {
  return Math.min(attempt * 50, MAX_RECONNECT_DELAY_MS);
}
