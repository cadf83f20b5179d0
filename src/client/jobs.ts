import { Deadline } from './deadline.js';
import { EspalierClientError } from './errors.js';
import { jobsOf } from './job-events.js';
import type { CallOptions } from './options.js';
import { isTransient, waitBeforeRetryMs } from './retry.js';
import { segment, type Transport } from './transport.js';
import type { Job } from './types.js';

/** A server that has answered and is away for so long does not come back by itself. */
const MAX_AWAY_MS = 300_000;

export interface WaitOptions extends CallOptions {
  /** Called with the job at every change that is seen. */
  onProgress?: ((job: Job) => void) | undefined;
  /** Asks so often instead of listening to events, for networks that hold streams back. */
  pollMs?: number | undefined;
}

/** What became of uploads. Every method throws EspalierClientError. */
export class JobsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The newest first; 100 unless told. */
  async list(
    { state, limit }: { state?: Job['state']; limit?: number } = {},
    options?: CallOptions,
  ): Promise<Job[]> {
    const call = { method: 'GET', path: '/v1/jobs', query: { state, limit }, isIdempotent: true } as const;
    return (await this.#transport.json<{ jobs: Job[] }>(call, options)).jobs;
  }

  async get(id: string, options?: CallOptions): Promise<Job> {
    const call = { method: 'GET', path: pathOf(id), isIdempotent: true } as const;
    return (await this.#transport.json<{ job: Job }>(call, options)).job;
  }

  async cancel(id: string, options?: CallOptions): Promise<Job> {
    const call = { method: 'DELETE', path: pathOf(id), isIdempotent: false } as const;
    return (await this.#transport.json<{ job: Job }>(call, options)).job;
  }

  /**
   * The job now, at every change, and as it ended. Where the stream breaks off (a restart of the server, a proxy that
   * closes what is quiet) it is opened again for as long as `timeoutMs` allows, and no longer than the server is away for
   * five minutes.
   */
  async *watch(id: string, { pollMs, ...options }: WaitOptions = {}): AsyncGenerator<Job, void, undefined> {
    const deadline = new Deadline(options.timeoutMs, options.signal);
    const within = { signal: deadline.signal, retries: options.retries, headers: options.headers };
    try {
      let lastHeardMs = Number.NEGATIVE_INFINITY;
      for (let failures = 0; ; ) {
        if (pollMs === undefined) {
          try {
            for await (const job of jobsOf(this.#transport, `${pathOf(id)}/events`, within)) {
              failures = 0;
              lastHeardMs = performance.now();
              yield job;
              if (isEnded(job)) return;
            }
          } catch (error) {
            deadline.check();
            if (!isTransient(error)) throw error;
          }
          // Asked rather than listened to, so that a network that passes no streams on is no obstacle.
          await deadline.sleep(waitBeforeRetryMs(++failures, undefined));
        }
        let job: Job;
        try {
          job = await this.get(id, within);
        } catch (error) {
          deadline.check();
          const isAway = performance.now() - lastHeardMs < MAX_AWAY_MS;
          if (!isAway || !isTransient(error)) throw error;
          if (pollMs !== undefined)
            await deadline.sleep(waitBeforeRetryMs(++failures, error.retryAfterSeconds));
          continue;
        }
        lastHeardMs = performance.now();
        yield job;
        if (isEnded(job)) return;
        if (pollMs !== undefined) await deadline.sleep(pollMs);
      }
    } finally {
      deadline.dispose();
    }
  }

  /**
   * Waits until a job has succeeded.
   * @throws EspalierClientError with the job's error where it failed, ESP_CANCELLED where it was cancelled
   */
  async wait(id: string, options: WaitOptions = {}): Promise<Job> {
    let last: Job | undefined;
    for await (const job of this.watch(id, options)) {
      options.onProgress?.(job);
      last = job;
    }
    if (last!.state === 'succeeded') return last!;
    if (last!.error !== undefined) throw EspalierClientError.fromPlain(last!.error);
    throw new EspalierClientError('ESP_CANCELLED', `the job ${id} was cancelled`);
  }
}

function isEnded({ state }: Job): boolean {
  return state !== 'queued' && state !== 'running';
}

function pathOf(id: string): string {
  return `/v1/jobs/${segment(id)}`;
}
