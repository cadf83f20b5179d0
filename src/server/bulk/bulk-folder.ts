import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readState } from '../state-file.js';
import type { BulkPins } from './bulk-pins.js';

/** A part of a job's requests: whole lines. */
export interface Chunk {
  /** Bytes of the file of requests, from `start` up to, not including, `end`. */
  start: number;
  end: number;
  firstLine: number;
  lines: number;
}

/** What a chunk came to; there when its answers are. */
export interface ChunkCounts {
  answered: number;
  failed: number;
  bytes: number;
  /** What answers were made under: catalogs, with the sets that requests named. */
  used: Record<string, string[]>;
}

/**
 * A bulk job's files, in bulk/<job> of the data directory:
 *   pins.json, pinned/   what the answers are made under, as it was when the job began
 *   chunks.json          how the requests are divided; requests.ndjson where they came packed
 *   out-<n>.ndjson       the answers of a chunk, and then out-<n>.json
 *   result.json          when all is there; of the rest only the answers stay
 */
export class BulkFolder {
  readonly path: string;

  constructor(dataDir: string, jobId: string) {
    this.path = join(dataDir, relativeFolder(jobId));
  }

  get pinsPath(): string {
    return join(this.path, 'pins.json');
  }

  get pinnedPath(): string {
    return join(this.path, 'pinned');
  }

  get chunksPath(): string {
    return join(this.path, 'chunks.json');
  }

  get unpackedPath(): string {
    return join(this.path, 'requests.ndjson');
  }

  get resultPath(): string {
    return join(this.path, 'result.json');
  }

  outputPath(chunk: number): string {
    return join(this.path, `out-${chunk}.ndjson`);
  }

  countsPath(chunk: number): string {
    return join(this.path, `out-${chunk}.json`);
  }

  pins(): BulkPins {
    return readState(this.pinsPath);
  }

  chunks(): Chunk[] {
    return readState(this.chunksPath);
  }

  /** undefined where the chunk is not done yet. */
  counts(chunk: number): ChunkCounts | undefined {
    const path = this.countsPath(chunk);
    return existsSync(path) ? readState(path) : undefined;
  }
}

export const BULK_FOLDER = 'bulk';

export function relativeFolder(jobId: string): string {
  return join(BULK_FOLDER, jobId);
}
