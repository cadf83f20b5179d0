import { EspalierError } from '../../errors.js';
import type { WorkFollower, WorkFunction, WorkKinds, WorkQueue, WorkResult, WorkTask } from './work-queue.js';

export interface EmbeddedQueueOptions {
  kinds: WorkKinds;
  dataDir: string;
  modelsDir?: string;
  /** How much of the work runs at a time. */
  concurrency: number;
}

interface Entry {
  task: WorkTask;
  abort: AbortController;
  progress: [phase: string, fraction: number] | undefined;
  onProgress: (phase: string, fraction: number) => void;
  result: Promise<WorkResult>;
  settle: { resolve: (result: WorkResult) => void; reject: (error: EspalierError) => void };
}

/** Runs the work in this process. It forgets everything with it: the job store enqueues again what is unfinished. */
export class EmbeddedQueue implements WorkQueue {
  readonly #options: EmbeddedQueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: Entry[] = [];
  readonly #running = new Map<Entry, Promise<void>>();
  #isClosed = false;

  constructor(options: EmbeddedQueueOptions) {
    this.#options = options;
  }

  async enqueue(task: WorkTask): Promise<void> {
    if (this.#isClosed) throw shuttingDown();
    if (this.#entries.has(task.id)) return;
    const { promise: result, ...settle } = withResolvers<WorkResult>();
    // Nobody may be following yet when it fails.
    result.catch(() => {});
    const abort = new AbortController();
    const entry: Entry = { task, abort, progress: undefined, onProgress: () => {}, result, settle };
    this.#entries.set(task.id, entry);
    const behind = task.isBackground ? -1 : this.#waiting.findIndex((one) => one.task.isBackground);
    this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, entry);
    this.#startNext();
  }

  async follow(task: WorkTask, { onProgress, signal }: WorkFollower): Promise<WorkResult> {
    await this.enqueue(task);
    const entry = this.#entries.get(task.id)!;
    entry.onProgress = onProgress;
    if (entry.progress !== undefined) onProgress(...entry.progress);
    const onAbort = () => this.#cancel(entry);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await entry.result;
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#entries.delete(task.id);
    }
  }

  unavailable(): undefined {}

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const entry of this.#waiting.splice(0)) entry.settle.reject(shuttingDown());
    for (const { abort } of this.#running.keys()) abort.abort();
    await Promise.all(this.#running.values());
  }

  #cancel(entry: Entry): void {
    entry.abort.abort();
    const place = this.#waiting.indexOf(entry);
    if (place < 0) return;
    this.#waiting.splice(place, 1);
    entry.settle.reject(new EspalierError('ESP_CANCELLED', 'the work was cancelled before it began'));
  }

  #startNext(): void {
    while (this.#running.size < this.#options.concurrency) {
      const entry = this.#waiting.shift();
      if (entry === undefined) return;
      const ended = this.#run(entry).finally(() => {
        this.#running.delete(entry);
        this.#startNext();
      });
      this.#running.set(entry, ended);
    }
  }

  async #run(entry: Entry): Promise<void> {
    const { task, abort, settle } = entry;
    const onProgress = (phase: string, fraction: number) => {
      entry.progress = [phase, fraction];
      entry.onProgress(phase, fraction);
    };
    try {
      onProgress('starting', 0);
      const { kinds, dataDir, modelsDir } = this.#options;
      const work = workOf(kinds, task.kind);
      const result = await work(task.payload, {
        jobId: task.id,
        dataDir,
        ...(modelsDir !== undefined && { modelsDir }),
        onProgress,
        signal: abort.signal,
      });
      settle.resolve(result);
    } catch (thrown) {
      const isHandedBack = this.#isClosed && abort.signal.aborted;
      settle.reject(isHandedBack ? shuttingDown() : EspalierError.from(thrown));
    }
  }
}

/** @throws EspalierError ESP_INTERNAL on a kind that this version does not have, as after a downgrade. */
export function workOf(kinds: WorkKinds, kind: string): WorkFunction {
  const work = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (work === undefined) throw new EspalierError('ESP_INTERNAL', `there is no work of kind ${kind}`);
  return work;
}

export function shuttingDown(): EspalierError {
  return new EspalierError('ESP_SHUTTING_DOWN', 'the server is shutting down');
}

/** `Promise.withResolvers`, which Node 20 does not have. */
export function withResolvers<Value>(): {
  promise: Promise<Value>;
  resolve: (value: Value) => void;
  reject: (error: EspalierError) => void;
} {
  let resolve!: (value: Value) => void;
  let reject!: (error: EspalierError) => void;
  const promise = new Promise<Value>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
