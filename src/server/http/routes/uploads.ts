import { randomUUID } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { EspalierError } from '../../../errors.js';
import type { AppDeps } from '../app-deps.js';
import { BuildAnswer, CatalogPath, closed } from '../schemas.js';

const NDJSON = 'application/x-ndjson';

/** Read as a stream, line by line; the schema is documentation. */
const ItemLines = Type.Any({
  description:
    'One JSON object a line: id, sid (a list of codes), and the attributes that the catalog declares.',
});

/** Uploads of items. A plugin of its own, so that only this route takes their content type. */
export const uploadRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs, store, config }) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));

  app.post(
    '/v1/catalogs/:catalog/versions',
    {
      schema: {
        tags: ['catalogs'],
        summary: 'Upload items as NDJSON; builds a new version',
        body: { content: { [NDJSON]: { schema: ItemLines } } },
        params: CatalogPath,
        querystring: Type.Object({ activate: Type.Optional(Type.Enum(['true', 'false'])) }, closed),
        response: { 202: BuildAnswer },
      },
    },
    async (request, reply) => {
      const { catalog } = request.params;
      catalogs.get(catalog);
      const uploadPath = store.uploadPath(randomUUID());
      try {
        await receive(request.body as NodeJS.ReadableStream, uploadPath, config);
        const started = catalogs.startBuild(catalog, uploadPath, request.query.activate === 'true');
        return reply.code(202).send(started);
      } catch (thrown) {
        rmSync(uploadPath, { force: true });
        throw thrown;
      }
    },
  );
};

/** Writes the stream to a file. @throws EspalierError ESP_BODY_TOO_LARGE, ESP_UPLOAD_STALLED, ESP_UPLOAD_ABORTED */
async function receive(
  body: NodeJS.ReadableStream,
  path: string,
  limits: { uploadLimitBytes: number; uploadIdleTimeoutMs: number },
): Promise<void> {
  try {
    await pipeline(body, new UploadGuard(limits), createWriteStream(path));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== 'ECONNRESET' && code !== 'ERR_STREAM_PREMATURE_CLOSE') throw cause;
    throw new EspalierError('ESP_UPLOAD_ABORTED', 'the client went away', { cause });
  }
}

/** Passes bytes on until they are too many, or none come for too long. */
class UploadGuard extends Transform {
  readonly #limitBytes: number;
  readonly #idle: NodeJS.Timeout;
  #receivedBytes = 0;

  constructor({
    uploadLimitBytes,
    uploadIdleTimeoutMs,
  }: { uploadLimitBytes: number; uploadIdleTimeoutMs: number }) {
    super();
    this.#limitBytes = uploadLimitBytes;
    this.#idle = setTimeout(() => {
      const message = `nothing came for ${uploadIdleTimeoutMs} ms`;
      this.destroy(new EspalierError('ESP_UPLOAD_STALLED', message));
    }, uploadIdleTimeoutMs);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#idle.refresh();
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes <= this.#limitBytes) done(null, chunk);
    else done(new EspalierError('ESP_BODY_TOO_LARGE', `the upload has more than ${this.#limitBytes} bytes`));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#idle);
    done(error);
  }
}
