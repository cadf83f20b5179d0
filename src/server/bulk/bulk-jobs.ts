import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '../../errors.js';
import { type ItemFile, orWriteFailure } from '../../static-trie/index.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import { isEnded, type Job, type JobRecord } from '../jobs/job-store.js';
import type { FollowTask, Jobs } from '../jobs/jobs.js';
import type { WorkFollower, WorkResult } from '../jobs/work-queue.js';
import { readState, removeTemporaryFiles, writeState } from '../state-file.js';
import { BULK_FOLDER, BulkFolder, type ChunkCounts } from './bulk-folder.js';
import { type PinDeps, pinAll } from './bulk-pins.js';
import { ChunkTasks } from './chunk-tasks.js';
import { type Download, readAcross } from './download.js';
import { summaryOf } from './summary.js';

export interface BulkJobsDeps extends PinDeps {
  dataDir: string;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
  /** What a line may have. */
  bodyLimitBytes: number;
  /** Requests that one task of a job answers. */
  bulkChunkRequests: number;
  /** Outputs that are kept; the oldest go. */
  keepBulkOutputs: number;
  /** Told of what a job's requests came to. */
  onRequests: (outcome: 'answered' | 'failed', count: number) => void;
}

const KIND = 'bulk-recommendations';

/** What is kept when a job has succeeded. */
interface BulkResult extends WorkResult {
  chunks: number;
  bytes: number;
}

/** Files of requests, answered in the background: the `bulk-recommendations` jobs. */
export class BulkJobs {
  readonly #deps: BulkJobsDeps;

  constructor(deps: BulkJobsDeps) {
    this.#deps = deps;
    deps.jobs.define(KIND, {
      findResult: ({ id }) => this.#findResult(id),
      work: (job, follow, run) => this.#work(job, follow, run),
      finish: (job, result) => this.#finish(job, result as BulkResult),
      discard: ({ id }) => rmSync(this.#folder(id).path, { recursive: true, force: true }),
    });
    this.#removeOutdated();
  }

  /** Starts a job over requests that were received; the file is the job's from then on. */
  async start({ path, ...file }: ItemFile, idempotency: Idempotency): Promise<StartedJob> {
    const { jobs, store } = this.#deps;
    const upload = { ...file, path: store.relativePath(path) };
    const job = await jobs.submit({
      kind: KIND,
      payload: { file: upload },
      files: [upload.path],
      ...(idempotency && { idempotency }),
    });
    return { job };
  }

  /**
   * The answers of a job.
   * @throws EspalierError ESP_JOB_NOT_FOUND, ESP_OUTPUT_NOT_FOUND, ESP_ARTIFACT_CORRUPT
   */
  output(id: string): Download {
    const { chunks, bytes } = this.#result(id);
    const folder = this.#folder(id);
    const paths = Array.from({ length: chunks }, (_, chunk) => folder.outputPath(chunk));
    return { bytes, etag: `"${id}"`, read: (start, end) => readAcross(paths, start, end) };
  }

  /** Gone when it returns, damaged or not. @throws EspalierError as `output`; ESP_WRITE_FAILED */
  deleteOutput(id: string): void {
    const job = this.#deps.jobs.get(id);
    if (!this.#hasOutput(job)) throw noOutput(job);
    this.#remove(this.#folder(id));
  }

  async #work(job: JobRecord, follow: FollowTask, run: WorkFollower): Promise<WorkResult> {
    const { uploadLimitBytes: maxBytes, bodyLimitBytes: maxLineBytes, bulkChunkRequests, store } = this.#deps;
    const folder = this.#folder(job.id);
    const { file } = job.payload as unknown as { file: ItemFile };
    if (!existsSync(folder.pinsPath)) await pinAll(this.#deps, folder);
    const tasks = new ChunkTasks(job, follow, run);
    if (!existsSync(folder.chunksPath)) await tasks.index({ file, maxBytes, chunkLines: bulkChunkRequests });
    const source = file.isGzip ? store.relativePath(folder.unpackedPath) : file.path;
    const counts = await tasks.answer(folder, { source, maxLineBytes });
    return { ...summaryOf(folder.pins(), counts), chunks: counts.length, bytes: bytesOf(counts) };
  }

  async #finish({ id }: JobRecord, result: BulkResult): Promise<Record<string, unknown>> {
    const folder = this.#folder(id);
    if (!existsSync(folder.resultPath)) {
      writeState(folder.resultPath, result);
      this.#deps.onRequests('answered', result.answered as number);
      this.#deps.onRequests('failed', result.failed as number);
    }
    for (const path of [folder.pinnedPath, folder.pinsPath, folder.chunksPath, folder.unpackedPath]) {
      rmSync(path, { recursive: true, force: true });
    }
    removeTemporaryFiles(folder.path);
    this.#removeOutdated(id);
    const { chunks, ...shown } = result;
    return { ...shown, output: `/v1/bulk-recommendations/jobs/${id}/output` };
  }

  /** @throws EspalierError ESP_JOB_NOT_FOUND, ESP_OUTPUT_NOT_FOUND, ESP_ARTIFACT_CORRUPT */
  #result(id: string): BulkResult {
    const job = this.#deps.jobs.get(id);
    const found = this.#hasOutput(job) ? this.#findResult(id) : undefined;
    if (found === undefined) throw noOutput(job);
    return found;
  }

  #hasOutput({ id, kind, state }: Job): boolean {
    return kind === KIND && state === 'succeeded' && existsSync(this.#folder(id).resultPath);
  }

  #findResult(id: string): BulkResult | undefined {
    const path = this.#folder(id).resultPath;
    if (!existsSync(path)) return undefined;
    return readState<BulkResult>(
      path,
      ({ chunks, bytes }) => Number.isInteger(chunks) && Number.isInteger(bytes),
    );
  }

  #folder(id: string): BulkFolder {
    return new BulkFolder(this.#deps.dataDir, id);
  }

  /** Removes outputs beyond those that are kept, and what jobs left that are forgotten. @param finishing counts, too */
  #removeOutdated(finishing?: string): void {
    const { jobs, dataDir, keepBulkOutputs } = this.#deps;
    const root = join(dataDir, BULK_FOLDER);
    if (!existsSync(root)) return;
    const all = jobs.list().filter(({ kind }) => kind === KIND);
    const underWay = all.filter((job) => !isEnded(job) && job.id !== finishing);
    const withOutput = all.filter((job) => job.id === finishing || this.#hasOutput(job));
    const kept = new Set([...underWay, ...withOutput.slice(0, keepBulkOutputs)].map(({ id }) => id));
    for (const id of readdirSync(root)) {
      if (!kept.has(id) && !jobs.isDamaged(id)) this.#remove(this.#folder(id));
    }
  }

  /** The result first: an output that is there is whole. */
  #remove(folder: BulkFolder): void {
    orWriteFailure(folder.resultPath, () => {
      rmSync(folder.resultPath, { force: true });
      rmSync(folder.path, { recursive: true, force: true });
    });
  }
}

function bytesOf(counts: readonly ChunkCounts[]): number {
  return counts.reduce((sum, { bytes }) => sum + bytes, 0);
}

function noOutput({ id, kind, state }: Job): EspalierError {
  const isDeleted = kind === KIND && state === 'succeeded';
  const reason = isDeleted ? 'its output was deleted' : `it is a ${kind} job, and ${state}`;
  return new EspalierError('ESP_OUTPUT_NOT_FOUND', `job ${id} has no output: ${reason}`);
}
