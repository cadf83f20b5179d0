import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { EvaluatedSet } from '../../catalogs/catalog-service.js';
import type { AppDeps } from '../app-deps.js';
import { CatalogPath, PreviewAnswer, RuleBody, SetPath, SetResource } from '../schemas.js';

/** Constraint sets: named rules over a catalog's items. */
export const constraintSetRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs }) => {
  const tags = ['constraint sets'];

  app.get(
    '/v1/catalogs/:catalog/constraint-sets',
    {
      schema: {
        tags,
        summary: 'The constraint sets of a catalog',
        params: CatalogPath,
        response: { 200: Type.Object({ constraintSets: Type.Array(SetResource) }) },
      },
    },
    ({ params }) => ({ constraintSets: catalogs.listSets(params.catalog).map(resource) }),
  );

  app.get(
    '/v1/catalogs/:catalog/constraint-sets/:set',
    {
      schema: {
        tags,
        summary: 'One constraint set: its rule, and how many items it allows',
        params: SetPath,
        response: { 200: SetResource },
      },
    },
    ({ params }) => resource(catalogs.getSet(params.catalog, params.set)),
  );

  app.put(
    '/v1/catalogs/:catalog/constraint-sets/:set',
    {
      schema: {
        tags,
        summary: 'Evaluate a rule; in force when this answers',
        params: SetPath,
        body: RuleBody,
        response: { 200: SetResource, 201: SetResource },
      },
    },
    async ({ params: { catalog, set }, body }, reply) => {
      const { record, created } = await catalogs.putSet(catalog, set, body.rule, body.params ?? {});
      return reply.code(created ? 201 : 200).send(resource(record));
    },
  );

  app.post(
    '/v1/catalogs/:catalog/constraint-sets/preview',
    {
      schema: {
        tags,
        summary: 'What a rule would allow, without changing anything',
        params: CatalogPath,
        body: RuleBody,
        response: { 200: PreviewAnswer },
      },
    },
    ({ params, body }) => catalogs.preview(params.catalog, body.rule, body.params ?? {}),
  );
};

function resource({ evaluation, ...record }: EvaluatedSet) {
  return {
    ...record,
    catalogVersion: evaluation?.catalogVersion ?? null,
    evaluatedAt: evaluation?.evaluatedAt ?? null,
    items: evaluation?.items ?? null,
    leaves: evaluation?.leaves ?? null,
  };
}
