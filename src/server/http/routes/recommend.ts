import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import type { RecommendQuery } from '../../../decoder/index.js';
import { EspalierError } from '../../../errors.js';
import type { AppDeps } from '../app-deps.js';
import { MAX_BEAM_WIDTH, RecommendAnswerSchema, RecommendBody, recommendDefaults } from '../schemas.js';

const DEFAULT_BEAM_WIDTH = 50;

/** The main job: a history and a constraint in, k allowed items out. */
export const recommendRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, deps) => {
  const { catalogs, engine, metrics, config } = deps;

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
    async (request) => {
      catalogs.get(request.body.catalog);
      const query = toQuery(request.body, request.id, config.requestTimeoutMs);
      const answer = await engine.recommend(query);
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
  const { timeoutMs, ...complete } = { ...recommendDefaults, ...body };
  const { k, beamWidth = Math.max(k, DEFAULT_BEAM_WIDTH), constraint } = complete;
  if (beamWidth < k) {
    const expected = `${k} (k) to ${MAX_BEAM_WIDTH}`;
    throw new EspalierError('ESP_BEAM_WIDTH', `beamWidth: expected ${expected}, found ${beamWidth}`, {
      details: [{ field: 'beamWidth', expected, found: String(beamWidth) }],
    });
  }
  if (constraint.params !== undefined && constraint.filter === undefined) {
    throw new EspalierError(
      'ESP_REQUEST_INVALID',
      'constraint.params: expected a filter that uses them, found none',
      {
        details: [{ field: 'constraint.filter', expected: 'a rule that uses the params', found: 'nothing' }],
      },
    );
  }
  const enqueuedAtMs = performance.timeOrigin + performance.now();
  return {
    ...complete,
    requestId,
    beamWidth,
    enqueuedAtMs,
    deadlineAtMs: enqueuedAtMs + (timeoutMs ?? defaultTimeoutMs),
  };
}
