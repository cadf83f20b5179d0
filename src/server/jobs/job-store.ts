import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError, type PlainError } from '../../errors.js';
import { readState, removeTemporaryFiles, writeState } from '../state-file.js';

export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';

export interface Job {
  id: string;
  kind: string;
  state: JobState;
  phase: string;
  /** 0 … 1 within the phase. */
  fraction: number;
  createdAt: string;
  error?: PlainError;
  result?: Record<string, unknown>;
}

/** Ended jobs beyond this many are forgotten, the oldest first. */
const MAX_KEPT = 1_000;

/** Jobs by id, kept on disk so that their outcome can be asked for after a restart. */
export class JobStore {
  readonly #folder: string;
  readonly #jobs = new Map<string, Job>();

  /**
   * Jobs that a stopped server left unfinished end as failed: their uploads are gone. A job whose file is
   * damaged is reported and forgotten.
   */
  constructor(dataDir: string, onDamage: (error: EspalierError) => void) {
    this.#folder = join(dataDir, 'jobs');
    mkdirSync(this.#folder, { recursive: true });
    removeTemporaryFiles(this.#folder);
    for (const job of this.#readAll(onDamage)) this.#jobs.set(job.id, job);
    for (const job of [...this.#jobs.values()]) {
      if (job.state !== 'queued' && job.state !== 'running') continue;
      const error = new EspalierError(
        'ESP_JOB_INTERRUPTED',
        'the server stopped before the job ended; send it again',
      );
      this.put({ ...job, state: 'failed', error: error.toPlain() });
    }
    this.#forgetOldest();
  }

  /** @throws EspalierError ESP_JOB_NOT_FOUND */
  get(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new EspalierError('ESP_JOB_NOT_FOUND', `there is no job ${id}`);
    return job;
  }

  /** The newest first. */
  list(): Job[] {
    return [...this.#jobs.values()].reverse();
  }

  /** Durable when it returns; in memory even when the write fails, so that a reader sees what is true. */
  put(job: Job): void {
    this.#jobs.set(job.id, job);
    writeState(this.#path(job.id), job);
    this.#forgetOldest();
  }

  /** Progress is kept in memory only: it is worth nothing after a restart. */
  progress(id: string, phase: string, fraction: number): void {
    const job = this.#jobs.get(id);
    if (job?.state === 'running') this.#jobs.set(id, { ...job, phase, fraction });
  }

  #readAll(onDamage: (error: EspalierError) => void): Job[] {
    const jobs: Job[] = [];
    for (const file of readdirSync(this.#folder).filter((name) => name.endsWith('.json'))) {
      try {
        jobs.push(readState<Job>(join(this.#folder, file)));
      } catch (thrown) {
        onDamage(EspalierError.from(thrown));
      }
    }
    return jobs.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  #forgetOldest(): void {
    for (const [id, job] of this.#jobs) {
      if (this.#jobs.size <= MAX_KEPT) return;
      if (job.state === 'queued' || job.state === 'running') continue;
      this.#jobs.delete(id);
      rmSync(this.#path(id), { force: true });
    }
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }
}
