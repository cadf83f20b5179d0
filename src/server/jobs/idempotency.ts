import type { IncomingHttpHeaders } from 'node:http';
import { describe, EspalierError, fieldError } from '../../errors.js';
import type { Job } from './job-store.js';
import type { Jobs } from './jobs.js';

/** What an upload is answered with. */
export interface StartedJob {
  job: Job;
  /** Of what it makes a version of, where it does. */
  version?: number;
}

/** What is kept with a job, so that the same request finds it again. */
export type Idempotency = { key: string; target: string } | undefined;

const KEY = /^[\x21-\x7e]{1,255}$/;
const RETRY_AFTER_SECONDS = 1;

/**
 * A request with an Idempotency-Key makes one job, however often it is sent. The key is kept with the job, so that it
 * survives what the job survives; until there is a job, the key belongs to the request that is being received.
 */
export class IdempotencyKeys {
  readonly #jobs: Jobs;
  readonly #receiving = new Set<string>();

  constructor(jobs: Jobs) {
    this.#jobs = jobs;
  }

  /**
   * @param start receives the request and submits its job, which must get the `idempotency` given along.
   * @returns what `start` returns, or the job that an earlier request with this key made, whatever became of it.
   * @throws EspalierError ESP_REQUEST_INVALID on a malformed key; ESP_IDEMPOTENCY_KEY where the key came with another
   *   path or query, or its first request is still being received
   */
  async once(
    { headers, url }: { headers: IncomingHttpHeaders; url: string },
    start: (idempotency: Idempotency) => Promise<StartedJob>,
  ): Promise<StartedJob> {
    const key = readKey(headers);
    if (key === undefined) return start(undefined);
    if (this.#receiving.has(key)) {
      const message = 'an upload with this Idempotency-Key is still being received';
      throw new EspalierError('ESP_IDEMPOTENCY_KEY', message, { retryAfterSeconds: RETRY_AFTER_SECONDS });
    }
    const found = this.#jobs.findByKey(key);
    if (found !== undefined) {
      if (found.target !== url) throw keyOfAnother(found.target, url);
      return startedJob(found.job);
    }
    this.#receiving.add(key);
    try {
      return await start({ key, target: url });
    } finally {
      this.#receiving.delete(key);
    }
  }
}

function startedJob(job: Job): StartedJob {
  return { job, ...(job.version !== undefined && { version: job.version }) };
}

function readKey(headers: IncomingHttpHeaders): string | undefined {
  const key = headers['idempotency-key'];
  if (key === undefined || (typeof key === 'string' && KEY.test(key))) return key as string | undefined;
  const expected = '1 to 255 visible ASCII characters';
  throw fieldError('ESP_REQUEST_INVALID', 'idempotency-key', expected, describe(key));
}

function keyOfAnother(expected: string, found: string): EspalierError {
  const message = `this Idempotency-Key came with ${expected} before, now with ${found}`;
  return new EspalierError('ESP_IDEMPOTENCY_KEY', message, {
    details: [{ field: 'idempotency-key', expected, found }],
  });
}
