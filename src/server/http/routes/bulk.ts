import { Readable } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { EspalierError, fieldError } from '../../../errors.js';
import { WholeGunzip } from '../../../static-trie/index.js';
import { BulkAnswers } from '../../bulk/bulk-answers.js';
import { abortedWhenGone } from '../aborted-when-gone.js';
import type { AppDeps } from '../app-deps.js';
import { publicError } from '../errors.js';
import { authorize } from '../guard.js';
import { cutStuckReader } from '../stuck-reader.js';
import { kindOfBody } from '../upload-kinds.js';

export const NDJSON = 'application/x-ndjson';
/** Of answers that wait for a slow reader, beside those that are being made. */
const BUFFERED_BYTES = 1 << 14;

/** Many requests in one stream. A plugin of its own, so that only these routes take their content type. */
export const bulkRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, deps) => {
  const { config, metrics, recommend, gatekeeper } = deps;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));

  const bulk = new BulkAnswers({
    recommend,
    // The other half of the queue is for those who ask for one answer.
    concurrency: Math.max(1, Math.min(config.bulkConcurrency, Math.floor(config.decodeQueueLimit / 2))),
    maxLineBytes: config.bodyLimitBytes,
    idleTimeoutMs: config.uploadIdleTimeoutMs,
    onLine: (outcome) => metrics.bulkRequests.inc({ outcome }),
    onError: (code) => metrics.recordError(code),
    publicError(error, requestId) {
      if (error.code === 'ESP_INTERNAL')
        app.log.error({ err: error, requestId }, 'a line of a bulk request failed');
      return publicError(error, `something went wrong; the log has request ${requestId}`);
    },
  });
  app.addHook('preClose', async () => bulk.drain());

  app.post(
    '/v1/bulk-recommendations',
    {
      config: { isShed: true, isStreamed: true },
      schema: {
        tags: ['recommend'],
        summary: 'Requests as NDJSON, packed with gzip or not; their answers as NDJSON, in the same order',
        body: {
          content: { [NDJSON]: { schema: Type.Any({ description: 'As the body of POST /v1/recommend.' }) } },
        },
        response: { 200: { content: { [NDJSON]: { schema: Type.String() } } } },
      },
      preHandler: requireNdjson,
    },
    async (request, reply) => {
      const context = {
        requestId: request.id,
        signal: abortedWhenGone(reply.raw),
        recheck: () => authorize(gatekeeper, request),
      };
      const answers = bulk.answers(bytesOf(request), context);
      cutStuckReader(reply.raw, config.uploadIdleTimeoutMs);
      const body = Readable.from(answers, { objectMode: false, highWaterMark: BUFFERED_BYTES });
      // What is left of a body that is not read to its end must not hold up the connection.
      body.once('close', () => request.raw.unpipe().resume());
      // nginx would hold the answers back.
      return reply.headers({ 'content-type': NDJSON, 'x-accel-buffering': 'no' }).send(body as never);
    },
  );
};

/**
 * A body as it comes, unpacked. Reading less than all of it leaves the connection open, for the answer.
 * @throws EspalierError ESP_MEDIA_TYPE; while it is read, ESP_BODY_MALFORMED on what is no gzip, ESP_UPLOAD_ABORTED
 */
function bytesOf(request: FastifyRequest): AsyncIterable<Buffer> {
  const { isGzip } = kindOfBody(request.headers);
  const { raw } = request;
  if (!isGzip) return readAlong(raw);
  const unpacked = new WholeGunzip();
  // Not as a pipeline: what fails to unpack must not end the connection, on which the answer goes.
  raw.pipe(unpacked);
  raw.once('error', (error) => unpacked.destroy(error));
  return readAlong(unpacked);
}

async function* readAlong(stream: Readable): AsyncGenerator<Buffer> {
  try {
    yield* stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const isPacking = code?.startsWith('Z_') === true;
    if (isPacking) throw new EspalierError('ESP_BODY_MALFORMED', 'the body is no gzip', { cause });
    throw new EspalierError('ESP_UPLOAD_ABORTED', 'the client went away', { cause });
  }
}

/** A request without any content type has no parser, and comes through. @throws EspalierError ESP_MEDIA_TYPE */
export async function requireNdjson({ headers }: FastifyRequest, _reply: FastifyReply): Promise<void> {
  if (headers['content-type'] === undefined)
    throw fieldError('ESP_MEDIA_TYPE', 'content-type', NDJSON, 'nothing');
}
