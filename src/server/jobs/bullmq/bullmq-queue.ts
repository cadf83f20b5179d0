import { type Job, Queue, QueueEvents } from 'bullmq';
import { EspalierError } from '../../../errors.js';
import { shuttingDown, withResolvers } from '../embedded-queue.js';
import type { WorkFollower, WorkQueue, WorkResult, WorkTask } from '../work-queue.js';
import { fromBullMq } from './job-errors.js';
import { cancelKey, QUEUE, queuePrefix } from './naming.js';
import { RedisLink, WaitingConnection } from './redis-link.js';

export interface BullMqOptions {
  redisUrl: string;
  /** The data directory's. */
  identity: string;
  /** The first wait before work that failed unexpectedly is tried again; each further one is twice as long. */
  backoffMs?: number;
  onRedisChange?: (isThere: boolean) => void;
}

const ATTEMPTS = 3;
const BACKOFF_MS = 1_000;
/** Events tell at once; this finds what was missed while Redis was gone, or has lost. */
const LOOK_INTERVAL_MS = 1_000;
/** Ended work is kept for a server that was stopped meanwhile. */
const KEPT = { age: 7 * 86_400, count: 10_000 };
const CANCEL_TTL_SECONDS = 7 * 86_400;
/** How long a cancelled follower waits for the work to stop. */
const CANCEL_GRACE_MS = 15_000;
const ENQUEUE_TIMEOUT_MS = 900;

/** Someone who waits for a task to end. */
interface Following {
  task: WorkTask;
  follower: WorkFollower;
  isLooking: boolean;
  /** Something happened during the look, perhaps too late for it. */
  mustLookAgain: boolean;
  cancelledMs: number | undefined;
  settle: { resolve: (result: WorkResult) => void; reject: (error: EspalierError) => void };
}

/** Work that waits in Redis, for whoever runs `BullMqProcessor` on the same data directory. */
export class BullMqQueue implements WorkQueue {
  readonly #prefix: string;
  readonly #backoffMs: number;
  readonly #link: RedisLink;
  readonly #eventsConnection: WaitingConnection;
  readonly #events: QueueEvents;
  readonly #following = new Map<string, Following>();
  readonly #looking: NodeJS.Timeout;
  #queue: Queue | undefined;
  #isClosed = false;

  constructor({ redisUrl, identity, backoffMs = BACKOFF_MS, onRedisChange = () => {} }: BullMqOptions) {
    this.#prefix = queuePrefix(identity);
    this.#backoffMs = backoffMs;
    this.#link = new RedisLink(redisUrl, onRedisChange);
    this.#eventsConnection = new WaitingConnection(redisUrl);
    this.#events = new QueueEvents(QUEUE, { connection: this.#eventsConnection, prefix: this.#prefix });
    this.#events.on('error', () => {});
    for (const name of ['active', 'progress', 'completed', 'failed'] as const) {
      this.#events.on(name, ({ jobId }: { jobId: string }) => this.#lookAt(jobId));
    }
    this.#looking = setInterval(() => {
      for (const id of this.#following.keys()) this.#lookAt(id);
    }, LOOK_INTERVAL_MS);
  }

  async enqueue({ id, kind, payload, isBackground }: WorkTask): Promise<void> {
    if (this.#isClosed) throw shuttingDown();
    const options = {
      jobId: id,
      attempts: ATTEMPTS,
      backoff: { type: 'exponential', delay: this.#backoffMs },
      removeOnComplete: KEPT,
      removeOnFail: KEPT,
      // What has a priority, whichever, comes behind all that has none.
      ...(isBackground && { priority: 1 }),
    };
    await this.#ask((queue) => queue.add(kind, payload, options));
  }

  follow(task: WorkTask, follower: WorkFollower): Promise<WorkResult> {
    if (this.#isClosed) return Promise.reject(shuttingDown());
    const { promise, ...settle } = withResolvers<WorkResult>();
    const following: Following = {
      task,
      follower,
      isLooking: false,
      mustLookAgain: false,
      cancelledMs: undefined,
      settle,
    };
    this.#following.set(task.id, following);
    const onAbort = () => this.#lookAt(task.id);
    follower.signal.addEventListener('abort', onAbort, { once: true });
    this.#lookAt(task.id);
    return promise.finally(() => {
      follower.signal.removeEventListener('abort', onAbort);
      this.#following.delete(task.id);
    });
  }

  unavailable(): string | undefined {
    return this.#link.unavailable();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#looking);
    for (const { settle } of this.#following.values()) settle.reject(shuttingDown());
    this.#link.close();
    this.#eventsConnection.disconnect();
    // It was told to stop, and its connections are gone: what it still says is of no interest.
    this.#events.close().catch(() => {});
    this.#queue?.close().catch(() => {});
  }

  #lookAt(id: string): void {
    const following = this.#following.get(id);
    if (following === undefined || this.#link.unavailable() !== undefined) return;
    following.mustLookAgain = following.isLooking;
    if (following.isLooking) return;
    following.isLooking = true;
    this.#look(following)
      // Redis is gone again; the next look finds out.
      .catch(() => {})
      .finally(() => {
        following.isLooking = false;
        if (following.mustLookAgain) this.#lookAt(id);
      });
  }

  async #look(following: Following): Promise<void> {
    const { task, follower, settle } = following;
    if (follower.signal.aborted) await this.#cancel(following);
    // The state first: a job that was read before it ended does not say what it came to.
    const state = await this.#ask((queue) => queue.getJobState(task.id));
    if (state === 'unknown') {
      if (follower.signal.aborted) settle.reject(cancelled());
      else await this.enqueue(task);
      return;
    }
    if (state !== 'completed' && state !== 'failed' && state !== 'active') return;
    const job = await this.#ask((queue) => queue.getJob(task.id));
    if (job === undefined) return;
    if (state === 'completed') settle.resolve(job.returnvalue as WorkResult);
    else if (state === 'failed') settle.reject(fromBullMq(job.failedReason));
    else follower.onProgress(...progressOf(job));
  }

  /** Whoever works on it sees the key; where nobody does yet, it is taken out of the queue. */
  async #cancel(following: Following): Promise<void> {
    const { id } = following.task;
    following.cancelledMs ??= performance.now();
    await this.#link.redis.set(cancelKey(this.#prefix, id), '1', 'EX', CANCEL_TTL_SECONDS);
    await this.#ask((queue) => queue.remove(id));
    if (performance.now() - following.cancelledMs > CANCEL_GRACE_MS) following.settle.reject(cancelled());
  }

  /** @throws EspalierError ESP_REDIS_UNAVAILABLE within a second */
  async #ask<Answer>(question: (queue: Queue) => Promise<Answer>): Promise<Answer> {
    this.#link.check();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#link.error()), ENQUEUE_TIMEOUT_MS);
    });
    try {
      return await Promise.race([this.#connected().then(question), timeout]);
    } catch (cause) {
      throw cause instanceof EspalierError ? cause : this.#link.error(cause);
    } finally {
      clearTimeout(timer);
    }
  }

  /** A queue whose first contact failed stays broken, so that the next caller gets another. */
  async #connected(): Promise<Queue> {
    if (this.#queue === undefined) {
      this.#queue = new Queue(QUEUE, { connection: this.#link.redis, prefix: this.#prefix });
      this.#queue.on('error', () => {});
    }
    const queue = this.#queue;
    try {
      await queue.waitUntilReady();
      return queue;
    } catch (thrown) {
      if (this.#queue === queue) this.#queue = undefined;
      throw thrown;
    }
  }
}

function progressOf({ progress }: Job): [phase: string, fraction: number] {
  const { phase = 'starting', fraction = 0 } = progress as { phase?: string; fraction?: number };
  return [phase, fraction];
}

function cancelled(): EspalierError {
  return new EspalierError('ESP_CANCELLED', 'the work was cancelled');
}
