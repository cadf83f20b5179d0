import { randomUUID } from 'node:crypto';
/** The work part of a job: plain JSON, so that it crosses to other processes and outlives this one. */
export interface WorkTask {
  /** The job's id, or a further one of the job (see `furtherTaskId`). */
  id: string;
  kind: string;
  /** Paths in it are relative to the data directory, which others may have mounted elsewhere. */
  payload: Payload;
  /** It waits for whatever else waits: one of so many that the others would hardly get their turn. */
  isBackground?: boolean;
}

/** A task of a job that had others before, whose results are of no use. */
export function furtherTaskId(jobId: string): string {
  return `${jobId}.${randomUUID()}`;
}

export function jobIdOf(taskId: string): string {
  return taskId.split('.')[0];
}

export type Payload = Record<string, unknown>;
export type WorkResult = Record<string, unknown>;

export interface WorkContext {
  jobId: string;
  dataDir: string;
  /** Where this process has the models; undefined where it has none. */
  modelsDir?: string;
  onProgress: (phase: string, fraction: number) => void;
  /** Aborted when nobody wants the result any more; the work then throws ESP_CANCELLED soon. */
  signal: AbortSignal;
}

/**
 * Work reads and writes files of the data directory and may be begun again after a crash, even while the crashed one
 * still writes: it must come to the same each time.
 */
export type WorkFunction = (payload: Payload, context: WorkContext) => Promise<WorkResult>;
export type WorkKinds = Readonly<Record<string, WorkFunction>>;

export interface WorkFollower {
  /** Also says that the work has begun. */
  onProgress: (phase: string, fraction: number) => void;
  /** Aborting it cancels the work, wherever it waits or runs. */
  signal: AbortSignal;
}

/** Where the work of jobs waits and runs, in the order in which it came. */
export interface WorkQueue {
  /**
   * Takes a task, durably as far as the queue is durable at all; one whose id is there already changes nothing.
   * @throws EspalierError ESP_REDIS_UNAVAILABLE within a second; ESP_SHUTTING_DOWN
   */
  enqueue(task: WorkTask): Promise<void>;

  /**
   * The task's result, once it is there. A task that the queue does not have (any more) is enqueued again.
   * @throws EspalierError the work's own; ESP_CANCELLED after `signal`; ESP_INTERNAL where the work failed
   *   unexpectedly; ESP_SHUTTING_DOWN where the queue was closed first, which says nothing about the work
   */
  follow(task: WorkTask, follower: WorkFollower): Promise<WorkResult>;

  /** Why nothing can be enqueued now. */
  unavailable(): string | undefined;

  /** Stops what runs here, to be begun again by whoever is next, and lets go of the followers. */
  close(): Promise<void>;
}
