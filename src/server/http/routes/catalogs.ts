import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { EspalierError } from '../../../errors.js';
import type { CatalogRecord, VersionRecord } from '../../catalogs/catalog-store.js';
import type { AppDeps } from '../app-deps.js';
import {
  CatalogBody,
  CatalogPath,
  CatalogResource,
  CatalogSummary,
  isReservedAttribute,
  VersionPath,
  VersionResource,
} from '../schemas.js';

/** Catalogs and their versions. */
export const catalogRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs }) => {
  const tags = ['catalogs'];

  app.get(
    '/v1/catalogs',
    {
      schema: {
        tags,
        summary: 'All catalogs',
        response: { 200: Type.Object({ catalogs: Type.Array(CatalogSummary) }) },
      },
    },
    () => ({ catalogs: catalogs.list().map((record) => summary(record, catalogs.activeVersion(record))) }),
  );

  app.get(
    '/v1/catalogs/:catalog',
    {
      schema: {
        tags,
        summary: 'One catalog with its codebooks and attributes',
        params: CatalogPath,
        response: { 200: CatalogResource },
      },
    },
    ({ params }) => {
      const record = catalogs.get(params.catalog);
      return resource(record, catalogs.activeVersion(record));
    },
  );

  app.put(
    '/v1/catalogs/:catalog',
    {
      schema: {
        tags,
        summary: 'Create a catalog, or give it another model',
        params: CatalogPath,
        body: CatalogBody,
        response: { 200: CatalogResource, 201: CatalogResource },
      },
    },
    async ({ params, body }, reply) => {
      checkAttributeNames(Object.keys(body.attributes));
      const { record, created } = await catalogs.put(params.catalog, {
        model: typeof body.model === 'string' ? { name: body.model } : body.model,
        codebookSizes: body.sid.codebookSizes,
        attributes: body.attributes,
      });
      return reply.code(created ? 201 : 200).send(resource(record, catalogs.activeVersion(record)));
    },
  );

  app.get(
    '/v1/catalogs/:catalog/versions',
    {
      schema: {
        tags,
        summary: 'The versions of a catalog',
        params: CatalogPath,
        response: { 200: Type.Object({ versions: Type.Array(VersionResource) }) },
      },
    },
    ({ params }) => {
      const { activeVersion } = catalogs.get(params.catalog);
      const versions = catalogs.versions(params.catalog);
      return { versions: versions.map((one) => ({ ...one, active: one.version === activeVersion })) };
    },
  );

  app.post(
    '/v1/catalogs/:catalog/versions/:version/activate',
    {
      schema: {
        tags,
        summary: 'Make a version the active one, with every constraint set prepared for it',
        params: VersionPath,
        response: { 200: CatalogResource },
      },
    },
    async ({ params }) => {
      const record = await catalogs.activate(params.catalog, Number(params.version));
      return resource(record, catalogs.activeVersion(record));
    },
  );
};

function summary({ name, activeVersion, model }: CatalogRecord, active: VersionRecord | undefined) {
  return { name, activeVersion, items: active?.items ?? 0, leaves: active?.leaves ?? 0, model };
}

function resource(record: CatalogRecord, active: VersionRecord | undefined) {
  const { codebookSizes, attributes, createdAt } = record;
  return { ...summary(record, active), sid: { codebookSizes }, attributes, createdAt };
}

function checkAttributeNames(names: string[]): void {
  const reserved = names.filter(isReservedAttribute);
  if (reserved.length === 0) return;
  const message = `attributes: ${reserved.join(', ')}: items or rules use this name for something else`;
  throw new EspalierError('ESP_REQUEST_INVALID', message, {
    details: reserved.map((name) => ({ field: `attributes.${name}`, expected: 'another name', found: name })),
  });
}
