import { DelayedError, isNotConnectionError, type Job, WaitingError, Worker } from 'bullmq';
import { EspalierError } from '../../../errors.js';
import { workOf } from '../embedded-queue.js';
import type { Payload, WorkKinds, WorkResult } from '../work-queue.js';
import { toBullMq } from './job-errors.js';
import { cancelKey, QUEUE, queuePrefix } from './naming.js';
import { WaitingConnection } from './redis-link.js';

export interface ProcessorOptions {
  redisUrl: string;
  /** The data directory's. */
  identity: string;
  dataDir: string;
  modelsDir?: string;
  kinds: WorkKinds;
  /** Kinds that it leaves to others. */
  leaves?: readonly string[];
  /** How much of the work runs here at a time. */
  concurrency: number;
  /** Whether a task is still to be worked on; the queue may not have heard. */
  isWanted: (taskId: string) => boolean;
  onError: (error: Error) => void;
}

/** A worker that does not renew its locks for so long is dead, and another one takes over. */
const LOCK_MS = 6_000;
const STALLED_INTERVAL_MS = 3_000;
/** A job that ends the process of every worker is given up. */
const MAX_STALLED = 3;
const CANCEL_LOOK_INTERVAL_MS = 500;
/** BullMQ's own is 15 s, for which a Redis that is back would wait. */
const RETRY_DELAY_MS = 1_000;
/** For how long `close` waits to hand back what runs. */
const CLOSE_GRACE_MS = 5_000;
/** The same for a Redis that is gone, and for how long one may take to say that it is not. */
const GONE_GRACE_MS = 500;
const PROGRESS_INTERVAL_MS = 200;
/** How long work that is left to others is out of sight, before any may take it. */
const LEAVE_MS = 1_000;

/** Runs work that waits in Redis. */
export class BullMqProcessor {
  readonly #options: ProcessorOptions;
  readonly #prefix: string;
  readonly #connection: WaitingConnection;
  readonly #worker: Worker<Payload, WorkResult>;
  readonly #active = new Set<string>();
  readonly #lookingForCancels: NodeJS.Timeout;
  #isClosing = false;

  constructor(options: ProcessorOptions) {
    this.#options = options;
    const { redisUrl, identity, concurrency, onError } = options;
    this.#prefix = queuePrefix(identity);
    this.#connection = new WaitingConnection(redisUrl);
    this.#worker = new Worker<Payload, WorkResult>(
      QUEUE,
      (job, token, signal) => this.#process(job, token!, signal!),
      {
        connection: this.#connection,
        prefix: this.#prefix,
        concurrency,
        lockDuration: LOCK_MS,
        stalledInterval: STALLED_INTERVAL_MS,
        maxStalledCount: MAX_STALLED,
        runRetryDelay: RETRY_DELAY_MS,
      },
    );
    this.#worker.on('error', (error) => {
      // Whether Redis is there is told elsewhere, once.
      if (!this.#isClosing && isNotConnectionError(error)) onError(error);
    });
    // Somebody else has it by now.
    this.#worker.on('lockRenewalFailed', (ids) => {
      for (const id of ids) this.#worker.cancelJob(id);
    });
    this.#lookingForCancels = setInterval(() => {
      for (const id of this.#active) this.#cancelIfAsked(id).catch(() => {});
    }, CANCEL_LOOK_INTERVAL_MS);
  }

  /** Hands back what runs, for others to begin again. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#lookingForCancels);
    this.#worker.cancelAllJobs();
    const mustForce = (await within(GONE_GRACE_MS, this.#connection.ping())) === undefined;
    await within(mustForce ? GONE_GRACE_MS : CLOSE_GRACE_MS, this.#worker.close(mustForce));
    // Where Redis is gone the worker still waits for it; its lock runs out, and others take over.
    this.#connection.disconnect();
  }

  async #process(job: Job<Payload, WorkResult>, token: string, signal: AbortSignal): Promise<WorkResult> {
    const id = job.id!;
    const { kinds, leaves = [], dataDir, modelsDir, isWanted } = this.#options;
    this.#active.add(id);
    try {
      if (!isWanted(id)) throw new EspalierError('ESP_CANCELLED', 'nobody waits for the job any more');
      await this.#cancelIfAsked(id);
      if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the work was cancelled before it began');
      if (leaves.includes(job.name)) {
        await job.moveToDelayed(Date.now() + LEAVE_MS, token);
        throw new DelayedError();
      }
      const onProgress = progressOf(job);
      const context = {
        jobId: id,
        dataDir,
        ...(modelsDir !== undefined && { modelsDir }),
        onProgress,
        signal,
      };
      return await workOf(kinds, job.name)(job.data, context);
    } catch (thrown) {
      if (thrown instanceof DelayedError) throw thrown;
      if (this.#isClosing && signal.aborted) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      throw toBullMq(thrown);
    } finally {
      this.#active.delete(id);
    }
  }

  async #cancelIfAsked(id: string): Promise<void> {
    const isAsked = (await this.#connection.exists(cancelKey(this.#prefix, id))) === 1;
    if (isAsked) this.#worker.cancelJob(id);
  }
}

/** @returns undefined where it fails, or takes longer */
async function within<Value>(ms: number, promise: Promise<Value>): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Tells every change of phase, and within a phase no more than a few times a second. */
function progressOf(job: Job): (phase: string, fraction: number) => void {
  let lastPhase = '';
  let lastMs = 0;
  return (phase, fraction) => {
    const nowMs = performance.now();
    if (phase === lastPhase && nowMs - lastMs < PROGRESS_INTERVAL_MS) return;
    [lastPhase, lastMs] = [phase, nowMs];
    // Progress that is not told is no failure of the work.
    job.updateProgress({ phase, fraction }).catch(() => {});
  };
}
