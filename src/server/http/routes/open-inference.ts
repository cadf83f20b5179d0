import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ModelVersion } from '../../models/model-service.js';
import { packageVersion } from '../../package-version.js';
import type { AppDeps } from '../app-deps.js';
import { ModelPath } from '../schemas/models.js';

const Tensor = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer({ description: '-1: any.' })),
});
const ServerMetadata = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String()),
});
const ModelMetadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String()),
  platform: Type.String(),
  inputs: Type.Array(Tensor),
  outputs: Type.Array(Tensor),
});
const Live = Type.Object({ live: Type.Boolean() });
const Ready = Type.Object({ ready: Type.Boolean() });
const ModelReady = Type.Object({ name: Type.String(), ready: Type.Boolean() });

/**
 * What platforms probe: health and metadata of the Open Inference Protocol (v2). Its infer calls are not here, because
 * the answer to a tensor would be a tensor, under no constraint.
 */
export const openInferenceRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, deps) => {
  const { models, notReadyReasons } = deps;
  const schema = (summary: string) => ({ tags: ['open inference protocol'], summary });

  app.get('/v2', { schema: { ...schema('The server'), response: { 200: ServerMetadata } } }, () => ({
    name: 'espalier',
    version: packageVersion(),
    extensions: [],
  }));

  app.get(
    '/v2/health/live',
    { schema: { ...schema('Whether the process lives'), response: { 200: Live } } },
    () => ({ live: true }),
  );

  app.get(
    '/v2/health/ready',
    {
      schema: { ...schema('Whether catalogs are active and served'), response: { 200: Ready, 503: Ready } },
    },
    async (_request, reply) => {
      const ready = notReadyReasons().length === 0;
      return reply.code(ready ? 200 : 503).send({ ready });
    },
  );

  app.get(
    '/v2/models/:model',
    {
      config: { errors: ['ESP_MODEL_NOT_FOUND', 'ESP_ENGINE_FAILED', 'ESP_SHUTTING_DOWN'] },
      schema: {
        ...schema('A model, its versions, what it reads and what it decodes'),
        params: ModelPath,
        response: { 200: ModelMetadata },
      },
    },
    async ({ params }) => metadataOf(params.model, await models.get(params.model)),
  );

  app.get(
    '/v2/models/:model/ready',
    {
      config: { errors: ['ESP_MODEL_NOT_FOUND', 'ESP_ENGINE_FAILED', 'ESP_SHUTTING_DOWN'] },
      schema: {
        ...schema('Whether the engine has a version of the model open'),
        params: ModelPath,
        response: { 200: ModelReady, 503: ModelReady },
      },
    },
    async ({ params: { model } }, reply) => {
      const ready = (await models.get(model)).some(({ loaded }) => loaded);
      return reply.code(ready ? 200 : 503).send({ name: model, ready });
    },
  );
};

function metadataOf(name: string, versions: ModelVersion[]) {
  const fits = versions.flatMap(({ outcome }) => (outcome && 'info' in outcome ? [outcome.info] : []));
  const levels = fits.at(-1)?.codebookSizes.length ?? -1;
  return {
    name,
    versions: versions.map(({ version }) => String(version)),
    platform: 'onnxruntime_onnx',
    inputs: [{ name: 'inputIds', datatype: 'INT32', shape: [-1] }],
    outputs: [
      { name: 'sid', datatype: 'UINT32', shape: [-1, levels] },
      { name: 'score', datatype: 'FP64', shape: [-1] },
    ],
  };
}
