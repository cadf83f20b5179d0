import { randomUUID } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { EspalierError } from '../../../errors.js';
import type { ItemFile, ItemFormat } from '../../../static-trie/index.js';
import type { AppDeps } from '../app-deps.js';
import { BuildAnswer, CatalogPath, closed, UploadHeaders } from '../schemas.js';

/** The content types of uploads. Arrow's two formats tell themselves apart. */
const formats: Record<string, ItemFormat> = {
  'application/x-ndjson': 'ndjson',
  'text/csv': 'csv',
  'application/vnd.apache.parquet': 'parquet',
  'application/vnd.apache.arrow.file': 'arrow',
  'application/vnd.apache.arrow.stream': 'arrow',
};

/** Read as streams; the schemas are documentation. */
const descriptions: Record<ItemFormat, string> = {
  ndjson: 'One JSON object a line: id, sid (a list of codes), and the attributes that the catalog declares.',
  csv: 'A header of column names; SIDs as 17-203-9, lists as a|b; an empty field is missing.',
  parquet: 'SIDs and lists as list columns.',
  arrow: 'SIDs and lists as list columns.',
};

/** Uploads of items. A plugin of its own, so that only this route takes their content type. */
export const uploadRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (
  app,
  { catalogs, store, jobs, idempotencyKeys, config },
) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(Object.keys(formats), (_request, payload, done) => done(null, payload));
  const content = Object.fromEntries(
    Object.entries(formats).map(([type, format]) => [
      type,
      { schema: Type.Any({ description: descriptions[format] }) },
    ]),
  );

  app.post(
    '/v1/catalogs/:catalog/versions',
    {
      schema: {
        tags: ['catalogs'],
        summary:
          'Upload items as NDJSON, CSV, Parquet or Arrow IPC, packed with gzip or not; builds a new version',
        body: { content },
        params: CatalogPath,
        headers: UploadHeaders,
        querystring: Type.Object({ activate: Type.Optional(Type.Enum(['true', 'false'])) }, closed),
        response: { 202: BuildAnswer },
      },
    },
    async (request, reply) => {
      const { catalog } = request.params;
      const started = await idempotencyKeys.once(request, async (idempotency) => {
        catalogs.get(catalog);
        jobs.checkAvailable();
        const upload: ItemFile = { path: store.uploadPath(randomUUID()), ...kindOf(request.headers) };
        try {
          await receive(request.body as NodeJS.ReadableStream, upload.path, config);
          return await catalogs.startBuild(catalog, upload, request.query.activate === 'true', idempotency);
        } catch (thrown) {
          rmSync(upload.path, { force: true });
          throw thrown;
        }
      });
      return reply.code(202).send(started);
    },
  );
};

/** @throws EspalierError ESP_MEDIA_TYPE on encodings other than gzip, and text in other charsets than UTF-8 */
function kindOf(headers: IncomingHttpHeaders): Pick<ItemFile, 'format' | 'isGzip'> {
  const [type, ...parameters] = headers['content-type']!.split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw mediaType('content-type', 'charset=utf-8', charset);
  }
  const encoding = (headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding !== 'identity' && encoding !== 'gzip')
    throw mediaType('content-encoding', 'gzip, or none', encoding);
  return { format: formats[type], isGzip: encoding === 'gzip' };
}

function mediaType(field: string, expected: string, found: string): EspalierError {
  return new EspalierError('ESP_MEDIA_TYPE', `${field}: expected ${expected}, found ${found}`, {
    details: [{ field, expected, found }],
  });
}

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
