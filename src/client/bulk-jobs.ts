import { download } from './download.js';
import { linesOf } from './lines.js';
import { type CallOptions, type ChangeOptions, changeHeaders, type UploadOptions } from './options.js';
import { parse, segment, type Transport } from './transport.js';
import type { BatchAnswer, Job } from './types.js';
import { upload } from './upload.js';
import type { UploadSource } from './upload-body.js';

export type BulkJobOptions = Pick<UploadOptions, 'isGzip' | 'idempotencyKey' | 'actor' | keyof CallOptions>;

/** A line of an output: the answer to the request of that line, or why there is none. */
export type BulkJobAnswer<Attributes extends object = Record<string, unknown>> = {
  /** 1-based, of the requests. */
  line: number;
} & BatchAnswer<Attributes>;

const PATH = '/v1/bulk-recommendations/jobs';

/** Files of requests that the server answers in the background. Every method throws EspalierClientError. */
export class BulkJobsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Sends requests; `jobs.wait` says when they are answered. */
  async start(requests: UploadSource, options: BulkJobOptions = {}): Promise<Job> {
    return (await upload(this.#transport, PATH, requests, options)).job;
  }

  /**
   * The answers of a job that has succeeded, in the order of its requests, as they are read, without a deadline. Where
   * the connection breaks off, it goes on from there.
   */
  async *output<Attributes extends object = Record<string, unknown>>(
    id: string,
    options: Pick<CallOptions, 'signal' | 'headers' | 'retries'> = {},
  ): AsyncGenerator<BulkJobAnswer<Attributes>, void, undefined> {
    for await (const line of linesOf(download(this.#transport, outputPath(id), options))) {
      if (line !== '') yield parse<BulkJobAnswer<Attributes>>(line);
    }
  }

  /** Deletes the answers; the job stays. */
  async deleteOutput(
    id: string,
    options: Pick<ChangeOptions, 'actor' | keyof CallOptions> = {},
  ): Promise<void> {
    const call = { method: 'DELETE', path: outputPath(id), isIdempotent: false } as const;
    await this.#transport.json({ ...call, headers: changeHeaders(options) }, options);
  }
}

function outputPath(id: string): string {
  return `${PATH}/${segment(id)}/output`;
}
