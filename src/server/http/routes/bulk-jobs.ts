import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ErrorCode } from '../../../errors.js';
import { ofUploads } from '../route-errors.js';
import { JobPath } from '../schemas/common.js';
import { BuildAnswer, UploadHeaders } from '../schemas/jobs.js';
import { sendRange } from '../send-range.js';
import type { UploadDeps } from '../upload-desk.js';
import { NDJSON, requireNdjson } from './bulk.js';

const noOutput = [
  'ESP_JOB_NOT_FOUND',
  'ESP_OUTPUT_NOT_FOUND',
  'ESP_ARTIFACT_CORRUPT',
] as const satisfies ErrorCode[];

const lines = { content: { [NDJSON]: { schema: Type.String() } } };
const RangeHeaders = Type.Object({
  range: Type.Optional(Type.String({ description: 'e.g. bytes=1000-' })),
  'if-range': Type.Optional(Type.String({ description: 'The ETag of what has come so far.' })),
});

/** Files of requests, answered in the background. */
export const bulkJobRoutes: FastifyPluginAsyncTypebox<UploadDeps> = async (app, deps) => {
  const { bulkJobs, uploads } = deps;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));

  app.post(
    '/v1/bulk-recommendations/jobs',
    {
      config: { isShed: true, isStreamed: true, errors: [...ofUploads] },
      schema: {
        tags: ['jobs'],
        summary: 'Upload requests as NDJSON, packed with gzip or not; answers them in the background',
        body: {
          content: { [NDJSON]: { schema: Type.Any({ description: 'As the body of POST /v1/recommend.' }) } },
        },
        headers: UploadHeaders,
        response: { 202: BuildAnswer },
      },
      preHandler: requireNdjson,
    },
    async (request, reply) => {
      const started = await uploads.receive(request, ([file], idempotency) =>
        bulkJobs.start(file, idempotency),
      );
      return reply.code(202).send(started);
    },
  );

  app.get(
    '/v1/bulk-recommendations/jobs/:id/output',
    {
      config: { errors: [...noOutput, 'ESP_RANGE'] },
      exposeHeadRoute: false,
      schema: {
        tags: ['jobs'],
        summary:
          'The answers of a bulk job, one a line, in the order of the requests; whole, or the Range of them',
        params: JobPath,
        headers: RangeHeaders,
        response: { 200: lines, 206: lines },
      },
    },
    async (request, reply) => {
      reply.type(NDJSON);
      return sendRange(request, reply, bulkJobs.output(request.params.id)) as never;
    },
  );

  app.delete(
    '/v1/bulk-recommendations/jobs/:id/output',
    {
      config: { errors: [...noOutput, 'ESP_WRITE_FAILED'] },
      schema: {
        tags: ['jobs'],
        summary: 'Delete the answers of a bulk job; the job itself stays',
        params: JobPath,
        response: { 204: Type.Null() },
      },
    },
    async ({ params }, reply) => {
      bulkJobs.deleteOutput(params.id);
      return reply.code(204).send(null);
    },
  );
};
