import { Readable } from 'node:stream';
import { isEnded, type Job } from '../jobs/job-store.js';
import type { Jobs } from '../jobs/jobs.js';

export const HEARTBEAT_MS = 15_000;

/**
 * A job's changes as server-sent events: the job at once, at every change, and as it ended; then the stream ends. A
 * reader that is slower than the changes gets the latest.
 */
export class JobEvents extends Readable {
  readonly #unwatch: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  #isFull = false;
  #latest: Job | undefined;

  /** @throws EspalierError ESP_JOB_NOT_FOUND */
  constructor(jobs: Pick<Jobs, 'get' | 'watch'>, id: string, heartbeatMs = HEARTBEAT_MS) {
    super();
    const job = jobs.get(id);
    this.#unwatch = jobs.watch(id, (changed) => this.#tell(changed));
    // Proxies close what says nothing for long.
    this.#heartbeat = setInterval(() => {
      if (!this.#isFull) this.#isFull = !this.push(': still here\n\n');
    }, heartbeatMs);
    this.#tell(job);
  }

  /** Ends the stream before the job has ended, as at a shutdown. */
  end(): void {
    if (!this.readableEnded && !this.destroyed) this.push(null);
    this.#stop();
  }

  override _read(): void {
    this.#isFull = false;
    if (this.#latest !== undefined) this.#tell(this.#latest);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stop();
    done(error);
  }

  #tell(job: Job): void {
    if (this.#isFull) {
      this.#latest = job;
      return;
    }
    this.#latest = undefined;
    this.#isFull = !this.push(`event: job\ndata: ${JSON.stringify({ job })}\n\n`);
    if (isEnded(job)) this.end();
  }

  #stop(): void {
    clearInterval(this.#heartbeat);
    this.#unwatch();
  }
}
