import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { AppDeps } from '../app-deps.js';
import { changeOf } from '../change-headers.js';
import { ofCatalogs, ofChanges, ofNewJobs, ofThreads } from '../route-errors.js';
import { CatalogPath } from '../schemas/common.js';
import { ItemPath, ItemResource, ItemsPatch, PatchAnswer } from '../schemas/items.js';

/** Single items: what they are, who allows them, and small changes to them. */
export const itemRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { items }) => {
  const tags = ['catalogs'];

  app.get(
    '/v1/catalogs/:catalog/items/:id',
    {
      config: { errors: [...ofCatalogs, ...ofThreads, 'ESP_CATALOG_INACTIVE', 'ESP_ITEM_NOT_FOUND'] },
      schema: {
        tags,
        summary:
          'One item of the active version, the items that share its SID, and what every set says of it',
        params: ItemPath,
        response: { 200: ItemResource },
      },
    },
    ({ params }) => items.view(params.catalog, params.id),
  );

  app.patch(
    '/v1/catalogs/:catalog/items',
    {
      config: {
        errors: [
          ...ofCatalogs,
          ...ofChanges,
          ...ofThreads,
          ...ofNewJobs,
          'ESP_CATALOG_INACTIVE',
          'ESP_UPLOAD_INVALID',
        ],
      },
      schema: {
        tags,
        summary:
          'Remove and update items, in force when this answers; added items are there when the job has ended',
        params: CatalogPath,
        body: ItemsPatch,
        response: { 200: PatchAnswer, 202: PatchAnswer },
      },
    },
    async (request, reply) => {
      const { remove = [], update = [], add = [] } = request.body;
      const changed = await items.patch(request.params.catalog, { remove, update, add }, changeOf(request));
      return reply.code(changed.job === undefined ? 200 : 202).send(changed);
    },
  );
};
