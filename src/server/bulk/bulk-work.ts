import { join } from 'node:path';
import type { ItemFile } from '../../static-trie/index.js';
import { inWorkProcess } from '../jobs/work-process.js';
import { jobIdOf, type WorkFunction } from '../jobs/work-queue.js';
import type { BulkHandlers } from './bulk-worker.js';

/** A task of a bulk job. Paths are relative to the data directory. */
export type BulkTask =
  | { part: 'index'; file: ItemFile; chunkLines: number; maxBytes: number }
  | { part: 'answer'; source: string; chunk: number; maxLineBytes: number };

const WORKER = new URL('./bulk-worker.js', import.meta.url);

/** Divides the requests of a bulk job, or answers a chunk of them; what comes of it is in the job's folder. */
export const workOnBulk: WorkFunction = (payload, context) => {
  const task = payload as unknown as BulkTask;
  const { dataDir, modelsDir } = context;
  const common = { dataDir, jobId: jobIdOf(context.jobId) };
  return inWorkProcess<BulkHandlers>(WORKER, context, async (child) => {
    if (task.part === 'answer') {
      const { chunk, maxLineBytes } = task;
      const source = join(dataDir, task.source);
      return child.call('answer', { ...common, source, chunk, modelsDir, maxLineBytes });
    }
    const { file, chunkLines, maxBytes } = task;
    const path = join(dataDir, file.path);
    await child.call('index', { ...common, file: { ...file, path }, chunkLines, maxBytes });
    return {};
  });
};
