import { randomUUID } from 'node:crypto';
import { EspalierError, type PlainError } from '../../errors.js';
import type { Job, JobStore } from './job-store.js';

/** Runs jobs one after the other; their state is durable at every change. */
export class JobRunner {
  readonly #store: JobStore;
  readonly #onEnd: (job: Job, durationMs: number) => void;
  #turn: Promise<void> = Promise.resolve();
  readonly #log: (error: EspalierError, message: string) => void;
  #closing = false;

  constructor(
    store: JobStore,
    onEnd: (job: Job, durationMs: number) => void,
    log: (error: EspalierError, message: string) => void,
  ) {
    this.#store = store;
    this.#onEnd = onEnd;
    this.#log = log;
  }

  /** Queues a job and returns it as it is then; `work` gets its id, and its result becomes the job's. */
  submit(kind: string, work: (jobId: string) => Promise<Record<string, unknown>>): Job {
    const createdAt = new Date().toISOString();
    const job: Job = { id: randomUUID(), kind, state: 'queued', phase: 'queued', fraction: 0, createdAt };
    this.#store.put(job);
    this.#turn = this.#turn.then(() => this.#run(job, work));
    return job;
  }

  /** Waits for the job that runs; those that still wait are failed, cleanly, at the next start. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#turn;
  }

  async #run(job: Job, work: (jobId: string) => Promise<Record<string, unknown>>): Promise<void> {
    if (this.#closing) return;
    const startMs = performance.now();
    this.#put({ ...job, state: 'running', phase: 'starting' });
    let ended: Job;
    try {
      const result = await work(job.id);
      ended = { ...job, state: 'succeeded', phase: 'done', fraction: 1, result };
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      if (error.statusCode >= 500) this.#log(error, `job ${job.id} failed`);
      const { phase, fraction } = this.#store.get(job.id);
      ended = { ...job, state: 'failed', phase, fraction, error: publicError(error, job.id) };
    }
    this.#put(ended);
    this.#onEnd(ended, performance.now() - startMs);
  }

  /** A state that cannot be written is logged; it must not stop this job, nor those that follow. */
  #put(job: Job): void {
    try {
      this.#store.put(job);
    } catch (thrown) {
      this.#log(EspalierError.from(thrown), `the state of job ${job.id} could not be written`);
    }
  }
}

/** What the owner of a job may see; the log has the rest. */
function publicError(error: EspalierError, jobId: string): PlainError {
  if (error.code !== 'ESP_INTERNAL') return error.toPlain();
  return { code: error.code, message: `something went wrong; the log has job ${jobId}` };
}
