import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { ErrorCode } from '../../../errors.js';
import { abortedWhenGone } from '../aborted-when-gone.js';
import type { AppDeps } from '../app-deps.js';
import { publicError } from '../errors.js';
import { ofCatalogs, ofRules, ofThreads } from '../route-errors.js';
import { BatchAnswer, BatchBody, RecommendAnswerSchema, RecommendBody } from '../schemas/recommend.js';

/** Of one request. Those of a batch or a stream are in its entry or its line, and the answer as a whole succeeds. */
const ofRecommending = [
  ...ofCatalogs,
  ...ofRules,
  ...ofThreads,
  'ESP_CATALOG_INACTIVE',
  'ESP_SET_NOT_FOUND',
  'ESP_SET_STALE',
  'ESP_ATTRIBUTE_NOT_FOUND',
  'ESP_HISTORY_EMPTY',
  'ESP_BEAM_WIDTH',
  'ESP_MODEL_OUTPUT',
  'ESP_TIMEOUT',
] as const satisfies ErrorCode[];

/** The main job: a history and a constraint in, k allowed items out. */
export const recommendRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { recommend }) => {
  app.post(
    '/v1/recommend',
    {
      config: { isShed: true, errors: [...ofRecommending] },
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

  app.post(
    '/v1/recommend/batch',
    {
      config: { isShed: true },
      schema: {
        tags: ['recommend'],
        summary: 'Several requests, which decode together and fail each alone',
        body: BatchBody,
        response: { 200: BatchAnswer },
      },
    },
    async (request, reply) => {
      const context = { requestId: request.id, signal: abortedWhenGone(reply.raw) };
      const outcomes = await recommend.recommendBatch(request.body.requests, context);
      const responses = outcomes.map((outcome, index) => {
        if ('answer' in outcome) return outcome.answer;
        const { error } = outcome;
        if (error.code === 'ESP_INTERNAL')
          request.log.error({ err: error }, `request ${index} of a batch failed`);
        return { error: publicError(error, `something went wrong; the log has request ${request.id}`) };
      });
      return { responses };
    },
  );
};
