import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { AppDeps } from '../app-deps.js';
import { JobAnswer, JobPath } from '../schemas.js';

/** What became of an upload. */
export const jobRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { jobs }) => {
  app.get(
    '/v1/jobs/:id',
    {
      schema: {
        tags: ['jobs'],
        summary: 'How far a job is, and what became of it',
        params: JobPath,
        response: { 200: JobAnswer },
      },
    },
    ({ params }) => ({ job: jobs.get(params.id) }),
  );
};
