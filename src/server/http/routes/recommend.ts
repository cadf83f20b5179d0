import type { ServerResponse } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import type { RecommendQuery } from '../../../decoder/index.js';
import { fieldError } from '../../../errors.js';
import type { AppDeps } from '../app-deps.js';
import { MAX_BEAM_WIDTH, RecommendAnswerSchema, RecommendBody, recommendDefaults } from '../schemas.js';

const DEFAULT_BEAM_WIDTH = 50;

/** The main job: a history and a constraint in, k allowed items out. */
export const recommendRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, deps) => {
  const { catalogs, sets, engine, metrics, config } = deps;

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
    async (request, reply) => {
      catalogs.get(request.body.catalog);
      const query = toQuery(request.body, request.id, config.requestTimeoutMs);
      const { set } = query.constraint;
      if (set !== undefined) {
        query.constraint = { ...query.constraint, set: sets.aliases.resolve(query.catalog, set) };
      }
      const answer = await engine.recommend(query, abortedWhenGone(reply.raw));
      metrics.recordAnswer(answer);
      return answer;
    },
  );
};

function toQuery(
  body: Static<typeof RecommendBody>,
  requestId: string,
  defaultTimeoutMs: number,
): RecommendQuery {
  const { timeoutMs, history, ...complete } = { ...recommendDefaults, ...body };
  const { k, beamWidth = Math.max(k, DEFAULT_BEAM_WIDTH), constraint, inputIds } = complete;
  if ((history === undefined) === (inputIds === undefined)) {
    const found = history === undefined ? 'neither' : 'both';
    throw fieldError('ESP_REQUEST_INVALID', 'history', 'one of history and inputIds', found);
  }
  if (complete.excludeHistory && history === undefined) {
    throw fieldError('ESP_REQUEST_INVALID', 'excludeHistory', 'a history to exclude', 'inputIds');
  }
  if (typeof beamWidth === 'number' && beamWidth < k) {
    throw fieldError('ESP_BEAM_WIDTH', 'beamWidth', `${k} (k) to ${MAX_BEAM_WIDTH}`, String(beamWidth));
  }
  if (constraint.params !== undefined && constraint.filter === undefined) {
    throw fieldError('ESP_REQUEST_INVALID', 'constraint.filter', 'a rule that uses the params', 'nothing');
  }
  const enqueuedAtMs = performance.timeOrigin + performance.now();
  return {
    ...complete,
    history: history ?? [],
    requestId,
    beamWidth,
    enqueuedAtMs,
    deadlineAtMs: enqueuedAtMs + (timeoutMs ?? defaultTimeoutMs),
  };
}

/** Aborted when the client goes away before it has its answer. */
function abortedWhenGone(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableEnded) controller.abort();
  });
  return controller.signal;
}
