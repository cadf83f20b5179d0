import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { EspalierError, type PlainError } from '../../errors.js';
import { syncFolder } from '../../static-trie/index.js';
import { readState, removeTemporaryFiles, writeState } from '../state-file.js';
import type { Payload } from './work-queue.js';

/** In which a job stays. */
export const endStates = ['succeeded', 'failed', 'cancelled'] as const;
export type JobState = 'queued' | 'running' | (typeof endStates)[number];

/** What callers see of a job. */
export interface Job {
  id: string;
  kind: string;
  state: JobState;
  phase: string;
  /** 0 … 1 within the phase. */
  fraction: number;
  createdAt: string;
  /** What it makes a version of, where it does; absent in records of earlier servers, as what follows. */
  catalog?: string;
  version?: number;
  error?: PlainError;
  result?: Record<string, unknown>;
}

/** A job as it is on disk: with all that it takes to go on with it after a restart. */
export interface JobRecord extends Job {
  payload?: Payload;
  /** Files that the work reads, relative to the data directory; the job's own, removed when it ends. */
  files?: string[];
  idempotency?: { key: string; target: string };
}

/** Ended jobs beyond this many are forgotten, the oldest first. */
const MAX_KEPT = 1_000;

/** Jobs by id, kept on disk: the one truth about them, whatever queue their work waits in. */
export class JobStore {
  readonly #folder: string;
  readonly #jobs = new Map<string, JobRecord>();
  readonly #damagedIds = new Set<string>();

  /** A job whose file is damaged is reported and forgotten. */
  constructor(dataDir: string, onDamage: (error: EspalierError) => void) {
    this.#folder = join(dataDir, 'jobs');
    mkdirSync(this.#folder, { recursive: true });
    removeTemporaryFiles(this.#folder);
    for (const job of this.#readAll(onDamage)) this.#jobs.set(job.id, job);
    this.#forgetOldest();
  }

  /** Of jobs whose files could not be read. */
  get damagedIds(): ReadonlySet<string> {
    return this.#damagedIds;
  }

  /** @throws EspalierError ESP_JOB_NOT_FOUND */
  get(id: string): JobRecord {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new EspalierError('ESP_JOB_NOT_FOUND', `there is no job ${id}`);
    return job;
  }

  /** The newest first. */
  list(): JobRecord[] {
    return [...this.#jobs.values()].reverse();
  }

  /** The oldest first. */
  unfinished(): JobRecord[] {
    return [...this.#jobs.values()].filter((job) => !isEnded(job));
  }

  findByKey(key: string): JobRecord | undefined {
    for (const job of this.#jobs.values()) if (job.idempotency?.key === key) return job;
    return undefined;
  }

  /** Durable when it returns; in memory even when the write fails, so that a reader sees what is true. */
  put(job: JobRecord): void {
    this.#jobs.set(job.id, job);
    writeState(this.#path(job.id), job);
    this.#forgetOldest();
  }

  /**
   * Notes the end of a job so that it stays ended. On a full disk its file can't be written, but can be removed: then
   * the job is forgotten at the next start, and never goes on.
   * @throws EspalierError ESP_WRITE_FAILED; then the job is as it was
   */
  putOrForget(job: JobRecord, before: JobRecord): void {
    try {
      this.put(job);
    } catch (thrown) {
      try {
        rmSync(this.#path(job.id), { force: true });
        syncFolder(this.#folder);
      } catch {
        this.#jobs.set(before.id, before);
        throw thrown;
      }
    }
  }

  /** Progress is kept in memory only: it is worth nothing after a restart. */
  progress(job: JobRecord): void {
    this.#jobs.set(job.id, job);
  }

  remove(id: string): void {
    this.#jobs.delete(id);
    try {
      rmSync(this.#path(id), { force: true });
    } catch {
      // What cannot be removed has ended, and the next start forgets it again; or it could not be written either.
    }
  }

  #readAll(onDamage: (error: EspalierError) => void): JobRecord[] {
    const jobs: JobRecord[] = [];
    for (const file of readdirSync(this.#folder).filter((name) => name.endsWith('.json'))) {
      const id = basename(file, '.json');
      try {
        jobs.push(readState<JobRecord>(join(this.#folder, file), (job) => isJob(id, job)));
      } catch (thrown) {
        this.#damagedIds.add(id);
        onDamage(EspalierError.from(thrown));
      }
    }
    return jobs.sort((a, b) =>
      a.createdAt === b.createdAt ? (a.version ?? 0) - (b.version ?? 0) : a.createdAt < b.createdAt ? -1 : 1,
    );
  }

  #forgetOldest(): void {
    for (const [id, job] of this.#jobs) {
      if (this.#jobs.size <= MAX_KEPT) return;
      if (isEnded(job)) this.remove(id);
    }
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }
}

function isJob(expected: string, { id, kind, state, createdAt }: JobRecord): boolean {
  return id === expected && [kind, state, createdAt].every((value) => typeof value === 'string');
}

export function isEnded({ state }: Pick<Job, 'state'>): boolean {
  return state !== 'queued' && state !== 'running';
}

/**
 * Whether a job is to be worked on, by its file alone: what a worker in another process asks before it begins. A queue
 * may still have work whose job was cancelled or never accepted.
 */
export function isWanted(dataDir: string, id: string): boolean {
  try {
    return !isEnded(JSON.parse(readFileSync(join(dataDir, 'jobs', `${id}.json`), 'utf8')) as Job);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw thrown;
  }
}

/** @returns the record without what is no caller's business. */
export function publicJob({ payload, files, idempotency, ...job }: JobRecord): Job {
  return job;
}
