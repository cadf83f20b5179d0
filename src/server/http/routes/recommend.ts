import type { ServerResponse } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { AppDeps } from '../app-deps.js';
import { RecommendAnswerSchema, RecommendBody } from '../schemas/recommend.js';

/** The main job: a history and a constraint in, k allowed items out. */
export const recommendRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { recommend }) => {
  app.post(
    '/v1/recommend',
    {
      schema: {
        tags: ['recommend'],
        summary: 'k allowed items, exactly ranked',
        body: RecommendBody,
        response: { 200: RecommendAnswerSchema },
      },
    },
    (request, reply) => {
      const { id: requestId, trace } = request;
      const context = { requestId, trace, signal: abortedWhenGone(reply.raw) };
      return recommend.recommend(request.body, context);
    },
  );
};

/** Aborted when the client goes away before it has its answer. */
export function abortedWhenGone(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableEnded) controller.abort();
  });
  return controller.signal;
}
