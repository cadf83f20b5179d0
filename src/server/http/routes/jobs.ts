import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Gatekeeper } from '../../security/gatekeeper.js';
import type { AppDeps } from '../app-deps.js';
import { Gate } from '../gate.js';
import { authorize } from '../guard.js';
import { JobEvents } from '../job-events.js';
import { JobPath } from '../schemas/common.js';
import { JobAnswer, JobsAnswer, JobsQuery } from '../schemas/jobs.js';

/** How soon a stream of events notices that its key was revoked. */
const LOOK_INTERVAL_MS = 250;

/** What became of uploads, and what is becoming of them. */
export const jobRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (
  app,
  { jobs, config, metrics, gatekeeper },
) => {
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
      config: { errors: ['ESP_JOB_NOT_FOUND'] },
      schema: {
        tags: ['jobs'],
        summary: 'How far a job is, and what became of it',
        params: JobPath,
        response: { 200: JobAnswer },
      },
    },
    ({ params }) => ({ job: jobs.get(params.id) }),
  );

  app.delete(
    '/v1/jobs/:id',
    {
      config: { errors: ['ESP_JOB_NOT_FOUND', 'ESP_JOB_ENDED', 'ESP_WRITE_FAILED'] },
      schema: {
        tags: ['jobs'],
        summary: 'Cancel a job, unless it has ended or its result is being put in place',
        params: JobPath,
        response: { 200: JobAnswer },
      },
    },
    ({ params }) => ({ job: jobs.cancel(params.id) }),
  );

  const onRefusal = () => metrics.refusals.inc({ reason: 'streams' });
  const gate = new Gate(config.maxEventStreams, 'streams of events are open', onRefusal);
  const open = new Set<JobEvents>();
  app.addHook('preClose', async () => {
    for (const events of open) events.end();
  });
  app.get(
    '/v1/jobs/:id/events',
    {
      config: { errors: ['ESP_JOB_NOT_FOUND', 'ESP_OVERLOADED'] },
      // A HEAD request would open a stream that nobody reads.
      exposeHeadRoute: false,
      schema: {
        tags: ['jobs'],
        summary: 'A job at every change until it has ended, as server-sent events',
        params: JobPath,
        response: { 200: { content: { 'text/event-stream': { schema: Type.String() } } } },
      },
    },
    async (request, reply) => {
      const { params } = request;
      jobs.get(params.id);
      const leave = gate.enter();
      const events = new JobEvents(jobs, params.id);
      open.add(events);
      // Asking again gets the error.
      const looking = setInterval(() => {
        if (isAllowed(gatekeeper, request)) return;
        clearInterval(looking);
        events.end();
      }, LOOK_INTERVAL_MS);
      events.once('close', () => {
        clearInterval(looking);
        open.delete(events);
        leave();
      });
      return reply
        .headers({
          'content-type': 'text/event-stream',
          'cache-control': 'no-store',
          // nginx would hold the events back.
          'x-accel-buffering': 'no',
        })
        .send(events as never);
    },
  );
};

function isAllowed(gatekeeper: Gatekeeper, request: FastifyRequest): boolean {
  try {
    authorize(gatekeeper, request);
    return true;
  } catch {
    return false;
  }
}
