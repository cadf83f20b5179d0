import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { AppDeps } from '../app-deps.js';
import { changeOf } from '../change-headers.js';
import { ofCatalogs, ofChanges } from '../route-errors.js';
import { AliasesAnswer, AliasesBody } from '../schemas/constraint-sets.js';

/** Second names of constraint sets, which move from one to another at once. */
export const aliasRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { sets }) => {
  const tags = ['constraint sets'];

  app.get(
    '/v1/aliases',
    {
      config: { errors: ['ESP_ARTIFACT_CORRUPT'] },
      schema: { tags, summary: 'All aliases', response: { 200: AliasesAnswer } },
    },
    async (_request, reply) => {
      reply.header('etag', sets.aliases.etag);
      return { aliases: sets.aliases.list() };
    },
  );

  app.post(
    '/v1/aliases',
    {
      config: {
        errors: [
          ...ofCatalogs,
          ...ofChanges,
          'ESP_SET_NOT_FOUND',
          'ESP_ALIAS_NOT_FOUND',
          'ESP_ALIAS_CONFLICT',
        ],
      },
      schema: {
        tags,
        summary: 'Set and delete aliases: all of the actions, or none',
        body: AliasesBody,
        response: { 200: AliasesAnswer },
      },
    },
    async (request, reply) => {
      const aliases = sets.changeAliases(request.body.actions, changeOf(request));
      reply.header('etag', sets.aliases.etag);
      return { aliases };
    },
  );
};
