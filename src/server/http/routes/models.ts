import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ModelVersion } from '../../models/model-service.js';
import type { AppDeps } from '../app-deps.js';
import { publicError } from '../errors.js';
import { ofModels } from '../route-errors.js';
import { VersionChoice } from '../schemas/common.js';
import { ModelPath, ModelResource, ModelSummary, ModelVersionResource } from '../schemas/models.js';
import { bodyIsOptional } from './optional-body.js';

/** Models on disk: what they are, who depends on them, and whether new ones fit. */
export const modelRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { models }) => {
  const tags = ['models'];

  app.get(
    '/v1/models',
    {
      schema: {
        tags,
        summary: 'All models and their versions on disk',
        response: { 200: Type.Object({ models: Type.Array(ModelSummary) }) },
      },
    },
    () => ({ models: models.list() }),
  );

  app.get(
    '/v1/models/:model',
    {
      config: { errors: ['ESP_MODEL_NOT_FOUND', 'ESP_ENGINE_FAILED', 'ESP_SHUTTING_DOWN'] },
      schema: {
        tags,
        summary: 'The versions of a model, and which catalogs depend on them',
        params: ModelPath,
        response: { 200: ModelResource },
      },
    },
    async ({ params }) => {
      const versions = await models.get(params.model);
      return { name: params.model, versions: versions.map(resource) };
    },
  );

  app.post(
    '/v1/models/:model/load',
    {
      config: { errors: [...ofModels] },
      preValidation: bodyIsOptional,
      schema: {
        tags,
        summary: 'Open and check the newest version, or the one named; nothing that serves changes',
        params: ModelPath,
        body: VersionChoice,
        response: { 200: ModelVersionResource },
      },
    },
    async ({ params, body }) => resource(await models.load(params.model, body.version)),
  );
};

function resource({ outcome, ...rest }: ModelVersion) {
  if (outcome === undefined) return { ...rest, state: 'unchecked' as const };
  if ('error' in outcome) return { ...rest, state: 'refused' as const, error: publicError(outcome.error) };
  const { contract, codebookSizes, vocabSize, fingerprint } = outcome.info;
  return {
    ...rest,
    state: 'fits' as const,
    contract,
    codebookSizes: [...codebookSizes],
    vocabSize,
    fingerprint,
  };
}
