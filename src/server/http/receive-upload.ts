import { createWriteStream, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyRequest } from 'fastify';
import { EspalierError } from '../../errors.js';
import { type ItemFile, syncFolder, writeFailure } from '../../static-trie/index.js';
import { kindOfBody, kindOfPart, refusePackedForm } from './upload-kinds.js';
import { asFormError, partsOf } from './upload-parts.js';

export interface UploadLimits {
  /** Of all files together, as they come. */
  uploadLimitBytes: number;
  uploadIdleTimeoutMs: number;
  /** On average over any `uploadIdleTimeoutMs` in which the client is waited for; 0: any. */
  uploadMinBytesPerSecond: number;
}

/**
 * Writes an upload, one file as the body or several as a form, to files that survive a crash when this returns. Where
 * it throws, it has removed what it wrote.
 * @param newPath gives each file its place
 * @throws EspalierError ESP_MEDIA_TYPE, ESP_REQUEST_INVALID (a form without files, or with something else),
 *   ESP_BODY_TOO_LARGE, ESP_UPLOAD_STALLED, ESP_UPLOAD_ABORTED, ESP_WRITE_FAILED
 */
export async function receiveUpload(
  request: FastifyRequest,
  newPath: () => string,
  limits: UploadLimits,
): Promise<ItemFile[]> {
  const guard = new UploadGuard(limits);
  const files: ItemFile[] = [];
  /** Each file is in the list before it exists, so that it is removed whatever happens. */
  const receive = async (stream: NodeJS.ReadableStream, kind: Omit<ItemFile, 'path'>): Promise<void> => {
    const file = { path: newPath(), ...kind };
    files.push(file);
    // Nothing comes from the client while the disk is waited for.
    stream.once('end', () => guard.rest());
    const writer = createWriteStream(file.path, { flush: true });
    // It may make its file after what failed before it has: the file can be removed once it is closed.
    const closed = new Promise<void>((resolve) => writer.once('close', resolve));
    await pipeline(stream, writer, { signal: guard.signal }).finally(() => closed);
    guard.watch();
  };
  try {
    // Routes that take no forms do not have it.
    if (request.isMultipart?.()) await receiveForm(request, guard, receive);
    else await receiveBody(request, guard, receive);
    for (const folder of new Set(files.map(({ path }) => dirname(path)))) syncFolder(folder);
    return files;
  } catch (thrown) {
    for (const { path } of files) rmSync(path, { force: true });
    throw guard.failure ?? asUploadError(thrown);
  } finally {
    guard.end();
  }
}

type Receive = (stream: NodeJS.ReadableStream, kind: Omit<ItemFile, 'path'>) => Promise<void>;

async function receiveBody(request: FastifyRequest, guard: UploadGuard, receive: Receive): Promise<void> {
  const kind = kindOfBody(request.headers);
  const source = request.body as Readable;
  // Between them, so that giving up does not destroy the source, and with it the way back to a client who still sends.
  const body = new PassThrough();
  source.once('error', (error) => body.destroy(error));
  source.once('close', () => source.readableEnded || body.destroy());
  source.on('data', guard.count);
  try {
    await receive(source.pipe(body), kind);
  } catch (thrown) {
    drain(request, guard.idleTimeoutMs);
    throw thrown;
  } finally {
    source.off('data', guard.count);
  }
}

async function receiveForm(request: FastifyRequest, guard: UploadGuard, receive: Receive): Promise<void> {
  refusePackedForm(request.headers);
  const { raw } = request;
  raw.on('data', guard.count);
  try {
    for await (const { name, type, stream } of partsOf(request, guard.signal)) {
      await receive(stream, { ...kindOfPart(name, type), name });
    }
  } catch (thrown) {
    drain(request, guard.idleTimeoutMs);
    throw thrown instanceof EspalierError ? thrown : asFormError(thrown);
  } finally {
    raw.off('data', guard.count);
  }
}

/**
 * Reads on without keeping anything, for a while: whoever closes a connection on which a client is still sending may
 * take away the answer, too.
 */
function drain({ raw }: FastifyRequest, forMs: number): void {
  if (raw.complete) return;
  raw.unpipe();
  raw.resume();
  const end = setTimeout(() => raw.destroy(), forMs).unref();
  raw.once('close', () => clearTimeout(end));
}

function asUploadError(thrown: unknown): unknown {
  const { code } = thrown as NodeJS.ErrnoException;
  const isGone = code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE';
  if (isGone) return new EspalierError('ESP_UPLOAD_ABORTED', 'the client went away', { cause: thrown });
  return writeFailure('the upload', thrown);
}

/** Ends the reception when there are too many bytes, when none come for too long, or too few. */
class UploadGuard {
  readonly idleTimeoutMs: number;
  readonly #limitBytes: number;
  readonly #minBytesPerSecond: number;
  #idle: NodeJS.Timeout | undefined;
  readonly #looking: NodeJS.Timeout;
  readonly #controller = new AbortController();
  #receivedBytes = 0;
  /** Since the last look: when it was, what has come, and for how long nothing was expected. */
  #lookedMs = performance.now();
  #newBytes = 0;
  #restMs = 0;
  #restingSinceMs: number | undefined;

  constructor({ uploadLimitBytes, uploadIdleTimeoutMs, uploadMinBytesPerSecond }: UploadLimits) {
    this.#limitBytes = uploadLimitBytes;
    this.#minBytesPerSecond = uploadMinBytesPerSecond;
    this.idleTimeoutMs = uploadIdleTimeoutMs;
    this.watch();
    this.#looking = setInterval(() => this.#look(), uploadIdleTimeoutMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get failure(): EspalierError | undefined {
    return this.signal.reason;
  }

  /** A listener for the chunks as they come. */
  readonly count = (chunk: Buffer): void => {
    this.#idle?.refresh();
    this.#newBytes += chunk.length;
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes > this.#limitBytes)
      this.#fail('ESP_BODY_TOO_LARGE', `the upload has more than ${this.#limitBytes} bytes`);
  };

  /** Expects bytes from now on. */
  watch(): void {
    clearTimeout(this.#idle);
    this.#endRest();
    const fail = () => this.#fail('ESP_UPLOAD_STALLED', `nothing came for ${this.idleTimeoutMs} ms`);
    this.#idle = setTimeout(fail, this.idleTimeoutMs);
  }

  /** Expects none for now. */
  rest(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
    this.#restingSinceMs ??= performance.now();
  }

  /** Expects none any more. */
  end(): void {
    this.rest();
    clearInterval(this.#looking);
  }

  #endRest(): void {
    if (this.#restingSinceMs !== undefined) this.#restMs += performance.now() - this.#restingSinceMs;
    this.#restingSinceMs = undefined;
  }

  /** A byte now and then keeps no upload alive: it would hold one of the few places for ever. */
  #look(): void {
    const isResting = this.#restingSinceMs !== undefined;
    this.#endRest();
    const nowMs = performance.now();
    const waitedMs = nowMs - this.#lookedMs - this.#restMs;
    const dueBytes = Math.floor((this.#minBytesPerSecond * waitedMs) / 1_000);
    if (this.#newBytes < dueBytes) {
      const message = `${this.#newBytes} bytes came in ${Math.round(waitedMs)} ms, fewer than ${dueBytes}`;
      this.#fail('ESP_UPLOAD_STALLED', message);
    }
    [this.#lookedMs, this.#newBytes, this.#restMs] = [nowMs, 0, 0];
    if (isResting) this.#restingSinceMs = nowMs;
  }

  #fail(code: 'ESP_UPLOAD_STALLED' | 'ESP_BODY_TOO_LARGE', message: string): void {
    if (!this.signal.aborted) this.#controller.abort(new EspalierError(code, message));
  }
}
