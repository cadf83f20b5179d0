import { serveProcess, tellParentProcess } from '../../decoder/index.js';
import type { ItemFile } from '../../static-trie/index.js';
import { becomeNice } from '../jobs/niceness.js';
import type { WorkEvent } from '../jobs/work-process.js';
import { answerChunk } from './answer-chunk.js';
import { BulkFolder, type ChunkCounts } from './bulk-folder.js';
import { indexRequests } from './index-requests.js';

/** The process that works on a bulk job: it divides its requests, or answers a chunk of them with an engine of its own. */

export interface IndexInput {
  dataDir: string;
  jobId: string;
  file: ItemFile;
  chunkLines: number;
  maxBytes: number;
}

export interface AnswerInput {
  dataDir: string;
  jobId: string;
  /** The file of requests. */
  source: string;
  chunk: number;
  modelsDir: string | undefined;
  maxLineBytes: number;
}

const cancelled = new AbortController();
const { signal } = cancelled;
/** Progress is told in steps of so much. */
const STEP = 1 / 128;
let told = 0;
const onProgress = (phase: string, fraction: number) => {
  if (fraction < 1 && fraction - told < STEP) return;
  told = fraction;
  tellParentProcess({ phase, fraction } satisfies WorkEvent);
};

const handlers = {
  index({ dataDir, jobId, file, ...options }: IndexInput): Promise<void> {
    return indexRequests(file, new BulkFolder(dataDir, jobId), { ...options, onProgress, signal });
  },

  answer({ dataDir, jobId, chunk, ...options }: AnswerInput): Promise<ChunkCounts> {
    return answerChunk(new BulkFolder(dataDir, jobId), chunk, { ...options, onProgress, signal });
  },

  cancel(): void {
    cancelled.abort();
  },
};
export type BulkHandlers = typeof handlers;

becomeNice();
serveProcess(handlers, async () => {}, ['cancel']);
