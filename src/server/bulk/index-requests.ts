import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { EspalierError } from '../../errors.js';
import { ByteBudget, type ItemFile, unpackedBytes } from '../../static-trie/index.js';
import { writeState } from '../state-file.js';
import type { BulkFolder, Chunk } from './bulk-folder.js';

export interface IndexOptions {
  /** Lines of a chunk. */
  chunkLines: number;
  /** What the upload may unpack to. */
  maxBytes: number;
  onProgress: (phase: string, fraction: number) => void;
  signal: AbortSignal;
}

const NEWLINE = 10;
const SPACE = 32;
/** A chunk of long lines ends sooner. */
const MAX_CHUNK_BYTES = 1 << 24;

/**
 * Divides an upload of requests into chunks of whole lines, and unpacks it where it is packed. Durable when it returns.
 * @throws EspalierError ESP_UPLOAD_EMPTY, ESP_UPLOAD_INVALID on what is no gzip, ESP_BODY_TOO_LARGE, ESP_CANCELLED
 */
export async function indexRequests(
  file: ItemFile,
  folder: BulkFolder,
  options: IndexOptions,
): Promise<void> {
  const { chunkLines, maxBytes, onProgress, signal } = options;
  const chunks = new ChunkCutter(chunkLines);
  const unpacked = file.isGzip ? createWriteStream(folder.unpackedPath, { flush: true }) : undefined;
  // Whoever waits for it below sees its error.
  const written = unpacked && finished(unpacked);
  written?.catch(() => {});
  const progress = (_phase: string, fraction: number) => onProgress('indexing', fraction);
  const budget = new ByteBudget(maxBytes);
  for await (const bytes of unpackedBytes(file, { budget, onProgress: progress })) {
    if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the job was cancelled');
    chunks.take(bytes);
    if (unpacked?.write(bytes) === false) await Promise.race([once(unpacked, 'drain'), written]);
  }
  unpacked?.end();
  await written;
  writeState(folder.chunksPath, chunks.end());
}

class ChunkCutter {
  readonly #chunkLines: number;
  readonly #chunks: Chunk[] = [];
  #hasText = false;
  #offset = 0;
  #open: Chunk = { start: 0, end: 0, firstLine: 1, lines: 0 };

  constructor(chunkLines: number) {
    this.#chunkLines = chunkLines;
  }

  take(bytes: Buffer): void {
    this.#hasText ||= bytes.some((byte) => byte > SPACE);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, end + 1)) {
      this.#endLine(this.#offset + end + 1);
    }
    this.#offset += bytes.length;
  }

  /** @throws EspalierError ESP_UPLOAD_EMPTY */
  end(): Chunk[] {
    if (!this.#hasText) throw new EspalierError('ESP_UPLOAD_EMPTY', 'the upload has no requests');
    if (this.#offset > this.#open.end) this.#endLine(this.#offset);
    if (this.#open.lines > 0) this.#chunks.push(this.#open);
    return this.#chunks;
  }

  #endLine(end: number): void {
    const { start, firstLine } = this.#open;
    const lines = this.#open.lines + 1;
    this.#open = { start, end, firstLine, lines };
    if (lines < this.#chunkLines && end - start < MAX_CHUNK_BYTES) return;
    this.#chunks.push(this.#open);
    this.#open = { start: end, end, firstLine: firstLine + lines, lines: 0 };
  }
}
