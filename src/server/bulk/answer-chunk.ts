import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream, renameSync, rmSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EspalierError } from '../../errors.js';
import { orWriteFailure, syncFolder, writeFailure } from '../../static-trie/index.js';
import { publicError } from '../http/errors.js';
import { inOrder } from '../in-order.js';
import { writeState } from '../state-file.js';
import type { BulkFolder, Chunk, ChunkCounts } from './bulk-folder.js';
import { isBlank, parseRequest } from './parse-request.js';
import { PinnedEngine } from './pinned-engine.js';
import { type RequestLine, requestLines } from './request-lines.js';

export interface ChunkOptions {
  /** The file of requests. */
  source: string;
  modelsDir: string | undefined;
  maxLineBytes: number;
  onProgress: (phase: string, fraction: number) => void;
  signal: AbortSignal;
}

/** Requests that are asked for at a time, so that the engine has batches to make. */
const CONCURRENCY = 64;

/**
 * Answers a chunk of a job's requests into a file of its own, durably. One that another process has answered meanwhile
 * is replaced by the same.
 * @throws EspalierError where no answer can be had: ESP_MODEL_…, ESP_ARTIFACT_CORRUPT, ESP_ENGINE_FAILED;
 *   ESP_WRITE_FAILED; ESP_CANCELLED
 */
export async function answerChunk(
  folder: BulkFolder,
  chunk: number,
  options: ChunkOptions,
): Promise<ChunkCounts> {
  const place = folder.chunks()[chunk];
  const { modelsDir } = options;
  const engine = new PinnedEngine({ folder, modelsDir, concurrency: CONCURRENCY });
  const temporary = `${folder.outputPath(chunk)}.${randomUUID()}.tmp`;
  const answers = new ChunkAnswers(engine, place, options);
  try {
    const texts = Readable.from(answers.texts(), { objectMode: false });
    await pipeline(texts, createWriteStream(temporary, { flush: true }));
    orWriteFailure(folder.outputPath(chunk), () => {
      renameSync(temporary, folder.outputPath(chunk));
      syncFolder(folder.path);
    });
    writeState(folder.countsPath(chunk), answers.counts);
    return answers.counts;
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw writeFailure(folder.outputPath(chunk), thrown);
  } finally {
    await engine.close();
  }
}

/** The lines of a chunk as lines of answers, counted. */
class ChunkAnswers {
  readonly counts: ChunkCounts = { answered: 0, failed: 0, bytes: 0, used: {} };
  readonly #engine: PinnedEngine;
  readonly #place: Chunk;
  readonly #options: ChunkOptions;

  constructor(engine: PinnedEngine, place: Chunk, options: ChunkOptions) {
    this.#engine = engine;
    this.#place = place;
    this.#options = options;
  }

  async *texts(): AsyncGenerator<string> {
    const { source, maxLineBytes, onProgress, signal } = this.#options;
    const { start, end, firstLine, lines } = this.#place;
    const bytes = createReadStream(source, { start, end: end - 1 });
    const answered = inOrder(requestLines(bytes, maxLineBytes, firstLine), CONCURRENCY, (line) =>
      this.#answer(line),
    );
    let count = 0;
    for await (const text of answered) {
      if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the job was cancelled');
      if (this.#engine.failure !== undefined) throw this.#engine.failure;
      this.counts.bytes += Buffer.byteLength(text);
      onProgress('answering', ++count / lines);
      if (text !== '') yield text;
    }
  }

  async #answer(line: RequestLine): Promise<string> {
    const { number } = line;
    if (isBlank(line)) return '';
    try {
      const request = parseRequest(line, this.#options.maxLineBytes);
      const answer = await this.#engine.recommend(request, String(number));
      this.counts.answered++;
      this.#use(request.catalog, request.constraint?.set);
      return `${JSON.stringify({ line: number, ...answer })}\n`;
    } catch (thrown) {
      this.counts.failed++;
      return `${JSON.stringify({ line: number, error: publicError(EspalierError.from(thrown)) })}\n`;
    }
  }

  #use(catalog: string, set: string | undefined): void {
    const { used } = this.counts;
    if (!Object.hasOwn(used, catalog)) used[catalog] = [];
    if (set === undefined) return;
    const name = this.#engine.setName(catalog, set);
    if (!used[catalog].includes(name)) used[catalog].push(name);
  }
}
