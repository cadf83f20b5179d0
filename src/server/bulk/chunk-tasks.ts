import { setMaxListeners } from 'node:events';
import type { ItemFile } from '../../static-trie/index.js';
import type { JobRecord } from '../jobs/job-store.js';
import type { FollowTask } from '../jobs/jobs.js';
import type { WorkFollower, WorkTask } from '../jobs/work-queue.js';
import type { BulkFolder, ChunkCounts } from './bulk-folder.js';
import type { BulkTask } from './bulk-work.js';

/** Tasks of one job that wait or run: enough for many workers, few enough that the queue stays short. */
const MAX_TASKS = 16;

/** A bulk job's work as tasks for whoever works on jobs. */
export class ChunkTasks {
  readonly #job: JobRecord;
  readonly #follow: FollowTask;
  readonly #run: WorkFollower;

  constructor(job: JobRecord, follow: FollowTask, run: WorkFollower) {
    this.#job = job;
    this.#follow = follow;
    this.#run = run;
  }

  async index(options: { file: ItemFile; maxBytes: number; chunkLines: number }): Promise<void> {
    await this.#follow(this.#task('index', { part: 'index', ...options }), this.#run);
  }

  /**
   * Answers the chunks that are not answered yet.
   * @throws EspalierError what the first task that failed has thrown; the others are cancelled
   */
  async answer(
    folder: BulkFolder,
    options: { source: string; maxLineBytes: number },
  ): Promise<ChunkCounts[]> {
    const done = folder.chunks().map((_, chunk) => folder.counts(chunk));
    const progress = new ChunkProgress(done, this.#run.onProgress);
    const waiting = done.flatMap((counts, chunk) => (counts === undefined ? [chunk] : []));
    const failing = new AbortController();
    const signal = AbortSignal.any([this.#run.signal, failing.signal]);
    setMaxListeners(0, signal);
    let failure: unknown;
    const next = async (): Promise<void> => {
      const chunk = waiting.shift();
      if (chunk === undefined || failing.signal.aborted) return;
      const task = this.#task(`answer-${chunk}`, { part: 'answer', chunk, ...options });
      await this.#follow(task, { onProgress: (_phase, fraction) => progress.put(chunk, fraction), signal });
      progress.put(chunk, 1);
      await next();
    };
    const runs = Array.from({ length: Math.min(MAX_TASKS, waiting.length) }, () =>
      next().catch((thrown) => {
        failure ??= thrown;
        failing.abort();
      }),
    );
    await Promise.all(runs);
    if (failure !== undefined) throw failure;
    return done.map((counts, chunk) => counts ?? folder.counts(chunk)!);
  }

  #task(name: string, payload: BulkTask): WorkTask {
    const { id, kind } = this.#job;
    return { id: `${id}.${name}`, kind, payload: { ...payload }, isBackground: true };
  }
}

/** How far all chunks are together. */
class ChunkProgress {
  readonly #fractions: Float64Array;
  readonly #onProgress: WorkFollower['onProgress'];
  #sum = 0;

  constructor(done: readonly (ChunkCounts | undefined)[], onProgress: WorkFollower['onProgress']) {
    this.#fractions = Float64Array.from(done, (counts) => (counts === undefined ? 0 : 1));
    this.#sum = this.#fractions.reduce((sum, fraction) => sum + fraction, 0);
    this.#onProgress = onProgress;
  }

  /** A chunk that begins again, as after the end of its worker, does not take back what was told. */
  put(chunk: number, fraction: number): void {
    this.#sum += Math.max(0, fraction - this.#fractions[chunk]);
    this.#fractions[chunk] = Math.max(this.#fractions[chunk], fraction);
    this.#onProgress('answering', this.#sum / this.#fractions.length);
  }
}
