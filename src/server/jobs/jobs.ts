import { randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError, type PlainError } from '../../errors.js';
import { ChangeListeners } from './change-listeners.js';
import { shuttingDown } from './embedded-queue.js';
import { isEnded, type Job, type JobRecord, type JobStore, publicJob } from './job-store.js';
import type { JobKindName } from './work-kinds.js';
import {
  furtherTaskId,
  type Payload,
  type WorkFollower,
  type WorkQueue,
  type WorkResult,
  type WorkTask,
} from './work-queue.js';

/** The part of a kind of job that runs in the server. Each function may be called again after a kill. */
export interface JobKind {
  /**
   * Whether a job that a stopped server left was answered, where it needs more than the job to be on disk. One that was
   * not is forgotten. Without it, each was.
   */
  isAccepted?(job: JobRecord): boolean;
  /** What the work came to, where its result is in place already; the work is skipped then. */
  findResult(job: JobRecord): WorkResult | undefined;
  /**
   * What the work is to be done with, where that depends on how things are when the jobs before it have ended. Without
   * it the job's own payload is.
   */
  prepare?(job: JobRecord): Promise<Payload>;
  /**
   * Does the work in several tasks, where it is too much for one. Called again after a kill, it goes on where it was:
   * what a task has done is in a file.
   * @param follow see `WorkQueue.follow`
   */
  work?(job: JobRecord, follow: FollowTask, run: WorkFollower): Promise<WorkResult>;
  /**
   * Puts the work's result in place; short, and not interrupted.
   * @param payload what the work was done with; undefined where `findResult` has found its result
   * @returns the job's result, or null where what the work was prepared from has changed: then it is prepared anew.
   */
  finish(
    job: JobRecord,
    result: WorkResult,
    onProgress: OnProgress,
    payload: Payload | undefined,
  ): Promise<Record<string, unknown> | null>;
  /** Removes what the work of a failed or cancelled job has left. */
  discard(job: JobRecord): void | Promise<void>;
}

export type FollowTask = (task: WorkTask, follower: WorkFollower) => Promise<WorkResult>;

export interface NewJob {
  kind: JobKindName;
  payload: Payload;
  /** See `JobRecord.files`. */
  files: string[];
  /** What it makes a version of, where it does. */
  catalog?: string;
  version?: number;
  idempotency?: { key: string; target: string };
}

export interface JobsDeps {
  dataDir: string;
  store: JobStore;
  queue: WorkQueue;
  /** Jobs that wait or run; further ones are refused. */
  maxUnfinished: number;
  /** @param by who asked for the job */
  onEnd: (job: Job, durationMs: number, by: string | null) => void;
  /** A job is refused, since there are too many. */
  onRefusal: () => void;
  log: (error: EspalierError, message: string) => void;
}

/** Builds take from seconds to minutes. */
const RETRY_AFTER_SECONDS = 10;

type OnProgress = (phase: string, fraction: number) => void;

/** A job that is being seen to. */
interface Run {
  abort: AbortController;
  /** From here on it is not cancelled any more. */
  isFinishing: boolean;
  beganMs: number | undefined;
  ended: Promise<void>;
}

/** Sees jobs through: work in the queue, finish here, every change of state durable before it is told. */
export class Jobs {
  readonly #deps: JobsDeps;
  readonly #kinds = new Map<string, JobKind>();
  readonly #runs = new Map<string, Run>();
  readonly #listeners = new ChangeListeners();
  #isClosing = false;

  constructor(deps: JobsDeps) {
    this.#deps = deps;
  }

  define(name: JobKindName, kind: JobKind): void {
    this.#kinds.set(name, kind);
  }

  /**
   * Accepts a job: when it returns, the job and its files are durable, and its work is in the queue.
   * @throws EspalierError ESP_OVERLOADED, ESP_REDIS_UNAVAILABLE, ESP_WRITE_FAILED, ESP_SHUTTING_DOWN; there is no such job then
   */
  async submit({ kind, ...rest }: NewJob): Promise<Job> {
    this.checkAvailable();
    const { store, queue } = this.#deps;
    const createdAt = new Date().toISOString();
    const job: JobRecord = {
      id: randomUUID(),
      kind,
      state: 'queued',
      phase: 'queued',
      fraction: 0,
      createdAt,
      ...rest,
    };
    try {
      store.put(job);
      if (!this.#isPrepared(job) && !this.#hasTasks(job)) await queue.enqueue(taskOf(job));
    } catch (thrown) {
      store.remove(job.id);
      throw thrown;
    }
    // Whoever lists jobs may have cancelled it meanwhile.
    if (isEnded(store.get(job.id))) this.#discard(job);
    else this.#see(job);
    return this.get(job.id);
  }

  /**
   * Before a large upload is received in vain.
   * @throws EspalierError ESP_OVERLOADED, ESP_REDIS_UNAVAILABLE, ESP_SHUTTING_DOWN
   */
  checkAvailable(): void {
    if (this.#isClosing) throw shuttingDown();
    const { maxUnfinished, onRefusal } = this.#deps;
    if (this.#runs.size >= maxUnfinished) {
      onRefusal();
      throw new EspalierError(
        'ESP_OVERLOADED',
        `the job is refused: ${this.#runs.size} wait or run already`,
        {
          retryAfterSeconds: RETRY_AFTER_SECONDS,
        },
      );
    }
    const reason = this.#deps.queue.unavailable();
    if (reason !== undefined) throw new EspalierError('ESP_REDIS_UNAVAILABLE', reason);
  }

  /** The newest first. */
  list(): Job[] {
    return this.#deps.store.list().map(publicJob);
  }

  /** Whether a job's file is damaged: what else there is of it stays, in case the file is restored. */
  isDamaged(id: string): boolean {
    return this.#deps.store.damagedIds.has(id);
  }

  /** @throws EspalierError ESP_JOB_NOT_FOUND */
  get(id: string): Job {
    return publicJob(this.#deps.store.get(id));
  }

  /** The job that a request with this Idempotency-Key made. */
  findByKey(key: string): { job: Job; target: string } | undefined {
    const record = this.#deps.store.findByKey(key);
    return record && { job: publicJob(record), target: record.idempotency!.target };
  }

  /** Jobs of a catalog that have not ended. */
  unfinishedOf(catalog: string): JobRecord[] {
    return this.#deps.store.unfinished().filter((job) => job.catalog === catalog);
  }

  /** @param listener gets the job at every change. @returns ends that. */
  watch(id: string, listener: (job: Job) => void): () => void {
    return this.#listeners.add(id, listener);
  }

  /**
   * Cancelled for good when it returns.
   * @throws EspalierError ESP_JOB_NOT_FOUND; ESP_JOB_ENDED, also where its result is being put in place;
   *   ESP_WRITE_FAILED: then it goes on
   */
  cancel(id: string): Job {
    const job = this.#deps.store.get(id);
    if (isEnded(job)) throw new EspalierError('ESP_JOB_ENDED', `job ${id} has ended: it ${job.state}`);
    const run = this.#runs.get(id);
    if (run?.isFinishing) {
      const message = `job ${id} is past its work: its result is being put in place, and it ends soon`;
      throw new EspalierError('ESP_JOB_ENDED', message);
    }
    const error = new EspalierError('ESP_CANCELLED', 'the job was cancelled').toPlain();
    const cancelled: JobRecord = { ...job, state: 'cancelled', error };
    this.#deps.store.putOrForget(cancelled, job);
    this.#tellEnd(cancelled, run);
    run?.abort.abort();
    return this.get(id);
  }

  /** Cancels a job unless it has ended, or is about to. */
  cancelIfPossible(id: string): void {
    try {
      this.cancel(id);
    } catch (thrown) {
      if (EspalierError.from(thrown).code !== 'ESP_JOB_ENDED') throw thrown;
    }
  }

  /** Goes on with the jobs that a stopped server left; those whose files are gone fail. */
  resume(): void {
    const { store } = this.#deps;
    for (const job of store.unfinished()) {
      if (this.#kinds.get(job.kind)?.isAccepted?.(job) === false) {
        this.#discard(job);
        store.remove(job.id);
        continue;
      }
      if (this.#canGoOn(job)) {
        const again: JobRecord = { ...job, state: 'queued', phase: 'queued', fraction: 0 };
        store.progress(again);
        this.#see(again);
        continue;
      }
      const message = 'the server stopped before the job ended, and its upload is gone; send it again';
      const error = new EspalierError('ESP_JOB_INTERRUPTED', message).toPlain();
      this.#end({ ...job, state: 'failed', error }, undefined);
      this.#discard(job);
    }
  }

  /** Stops the work, to go on with it at the next start; what is being put in place is waited for. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#deps.queue.close();
    await Promise.all(Array.from(this.#runs.values(), ({ ended }) => ended));
  }

  #see(job: JobRecord): void {
    const earlier = this.#earlierOf(job);
    const run: Run = {
      abort: new AbortController(),
      isFinishing: false,
      beganMs: undefined,
      ended: Promise.resolve(),
    };
    this.#runs.set(job.id, run);
    run.ended = this.#run(job, run, earlier).finally(() => this.#runs.delete(job.id));
  }

  /** A later upload of a catalog is put in place after an earlier one, even where its work was done before. */
  #earlierOf({ catalog }: JobRecord): Promise<unknown> {
    if (catalog === undefined) return Promise.resolve();
    const runs = Array.from(this.#runs).filter(([id]) => this.#deps.store.get(id).catalog === catalog);
    return Promise.all(runs.map(([, { ended }]) => ended));
  }

  async #run(job: JobRecord, run: Run, earlier: Promise<unknown>): Promise<void> {
    const { store, log } = this.#deps;
    try {
      const final = await this.#complete(job, run, earlier);
      this.#end({ ...job, state: 'succeeded', phase: 'done', fraction: 1, result: final }, run);
      this.#removeFiles(job);
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      // The job stays as it is on disk, and goes on at the next start.
      if (this.#isClosing && error.code === 'ESP_SHUTTING_DOWN') return;
      if (!run.abort.signal.aborted) {
        if (error.statusCode >= 500) log(error, `job ${job.id} failed`);
        const { phase, fraction } = store.get(job.id);
        this.#end({ ...job, state: 'failed', phase, fraction, error: publicError(error, job.id) }, run);
      }
      this.#discard(job);
    }
  }

  /** @returns the job's result. @throws what stops it; ESP_SHUTTING_DOWN where the server is about to end */
  async #complete(job: JobRecord, run: Run, earlier: Promise<unknown>): Promise<Record<string, unknown>> {
    const kind = this.#kinds.get(job.kind)!;
    const { signal } = run.abort;
    const onProgress = (phase: string, fraction: number) => this.#progress(job.id, run, phase, fraction);
    if (this.#isPrepared(job)) await earlier;
    for (;;) {
      this.#checkGoesOn(run);
      const found = this.#findResult(job);
      const task = found === undefined && kind.work === undefined ? await this.#task(job) : undefined;
      const follow: FollowTask = (one, follower) => this.#deps.queue.follow(one, follower);
      const work = () =>
        kind.work?.(job, follow, { onProgress, signal }) ?? follow(task!, { onProgress, signal });
      const result = found ?? (await work());
      await earlier;
      this.#checkGoesOn(run);
      run.isFinishing = true;
      const final = await kind.finish(job, result, onProgress, task?.payload);
      if (final !== null) return final;
      run.isFinishing = false;
    }
  }

  /** @throws where the job was cancelled, or the server is about to end */
  #checkGoesOn({ abort }: Run): void {
    abort.signal.throwIfAborted();
    if (this.#isClosing) throw shuttingDown();
  }

  async #task(job: JobRecord): Promise<WorkTask> {
    const payload = await this.#kinds.get(job.kind)!.prepare?.(job);
    // Each preparation is work of its own: a result of an earlier one is of no use.
    return payload === undefined ? taskOf(job) : { ...taskOf(job), id: furtherTaskId(job.id), payload };
  }

  #isPrepared({ kind }: Pick<JobRecord, 'kind'>): boolean {
    return this.#kinds.get(kind)?.prepare !== undefined;
  }

  #hasTasks({ kind }: Pick<JobRecord, 'kind'>): boolean {
    return this.#kinds.get(kind)?.work !== undefined;
  }

  /** Records of earlier servers do not say what it takes. */
  #canGoOn(job: JobRecord): boolean {
    const { dataDir, log } = this.#deps;
    if (!this.#kinds.has(job.kind) || job.payload === undefined) return false;
    if (job.files?.every((file) => existsSync(join(dataDir, file)))) return true;
    try {
      return this.#findResult(job) !== undefined;
    } catch (thrown) {
      log(EspalierError.from(thrown), `what job ${job.id} came to cannot be read`);
      return false;
    }
  }

  #findResult(job: JobRecord): WorkResult | undefined {
    return this.#kinds.get(job.kind)?.findResult(job);
  }

  #progress(id: string, run: Run, phase: string, fraction: number): void {
    const { store } = this.#deps;
    if (run.abort.signal.aborted) return;
    const job = store.get(id);
    run.beganMs ??= performance.now();
    const changed: JobRecord = { ...job, state: 'running', phase, fraction };
    if (job.state === 'queued') this.#put(changed);
    else store.progress(changed);
    this.#listeners.tell(publicJob(changed));
  }

  #end(job: JobRecord, run: Run | undefined): void {
    this.#put(job);
    this.#tellEnd(job, run);
  }

  #tellEnd(job: JobRecord, run: Run | undefined): void {
    const ended = publicJob(job);
    const durationMs = run?.beganMs === undefined ? 0 : performance.now() - run.beganMs;
    this.#deps.onEnd(ended, durationMs, (job.payload?.by as string | null | undefined) ?? null);
    this.#listeners.tell(ended);
  }

  /** A state that cannot be written is logged; it must not stop this job, nor those that follow. */
  #put(job: JobRecord): void {
    try {
      this.#deps.store.put(job);
    } catch (thrown) {
      this.#deps.log(EspalierError.from(thrown), `the state of job ${job.id} could not be written`);
    }
  }

  #discard(job: JobRecord): void {
    this.#removeFiles(job);
    const kind = this.#kinds.get(job.kind);
    if (job.payload === undefined || kind === undefined) return;
    const discard = async () => kind.discard(job);
    discard().catch((thrown) => {
      this.#deps.log(EspalierError.from(thrown), `what job ${job.id} has left could not be removed`);
    });
  }

  /** The job has ended, whether they can be removed or not; the next start removes what is left. */
  #removeFiles({ id, files = [] }: JobRecord): void {
    for (const file of files) {
      try {
        rmSync(join(this.#deps.dataDir, file), { force: true });
      } catch (thrown) {
        this.#deps.log(EspalierError.from(thrown), `a file of job ${id} could not be removed`);
      }
    }
  }
}

function taskOf({ id, kind, payload = {} }: JobRecord): WorkTask {
  return { id, kind, payload };
}

/** What the owner of a job may see; the log has the rest. */
function publicError(error: EspalierError, jobId: string): PlainError {
  if (error.code !== 'ESP_INTERNAL') return error.toPlain();
  return { code: error.code, message: `something went wrong; the log has job ${jobId}` };
}
