import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { AppDeps } from '../app-deps.js';
import { JobAnswer, JobPath, JobsAnswer, JobsQuery } from '../schemas.js';

/** What became of uploads. */
export const jobRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { jobs }) => {
  app.get(
    '/v1/jobs',
    {
      schema: {
        tags: ['jobs'],
        summary: 'Jobs, the newest first',
        querystring: JobsQuery,
        response: { 200: JobsAnswer },
      },
    },
    ({ query: { state, limit } }) => {
      const found = jobs.list().filter((job) => state === undefined || job.state === state);
      return { jobs: found.slice(0, Number(limit)) };
    },
  );

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
