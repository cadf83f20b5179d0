import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { EspalierError } from '../../../errors.js';
import { catalogEtag } from '../../catalogs/catalog-service.js';
import type { CatalogRecord, VersionRecord } from '../../catalogs/catalog-store.js';
import type { AppDeps } from '../app-deps.js';
import { changeOf } from '../change-headers.js';
import { publicError } from '../errors.js';
import { ofActivations, ofCatalogs, ofChanges, ofThreads } from '../route-errors.js';
import {
  CatalogBody,
  CatalogResource,
  CatalogSummary,
  isReservedAttribute,
  VersionResource,
} from '../schemas/catalogs.js';
import { CatalogPath, VersionChoice, VersionPath } from '../schemas/common.js';
import { bodyIsOptional } from './optional-body.js';
import type { ReplyHeaders } from './reply-headers.js';

/** Catalogs and their versions. */
export const catalogRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs }) => {
  const tags = ['catalogs'];
  const answer = (reply: ReplyHeaders, record: CatalogRecord) => {
    reply.header('etag', catalogEtag(record));
    const failure = catalogs.failure(record);
    return {
      ...resource(record, catalogs.activeVersion(record)),
      damagedVersions: catalogs
        .damagedVersions(record.name)
        .map(({ version, error }) => ({ version, error: publicError(error) })),
      ...(failure && { notServed: publicError(failure) }),
    };
  };

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
      config: { errors: [...ofCatalogs] },
      schema: {
        tags,
        summary: 'One catalog with its codebooks and attributes',
        params: CatalogPath,
        response: { 200: CatalogResource },
      },
    },
    async ({ params }, reply) => answer(reply, catalogs.get(params.catalog)),
  );

  app.put(
    '/v1/catalogs/:catalog',
    {
      config: { errors: [...ofActivations, 'ESP_CATALOG_CONFLICT', 'ESP_ARTIFACT_CORRUPT'] },
      schema: {
        tags,
        summary: 'Create a catalog, or give it another model',
        params: CatalogPath,
        body: CatalogBody,
        response: { 200: CatalogResource, 201: CatalogResource },
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      checkAttributeNames(Object.keys(body.attributes));
      const definition = {
        model: typeof body.model === 'string' ? { name: body.model } : body.model,
        codebookSizes: body.sid.codebookSizes,
        attributes: body.attributes,
      };
      const { record, created } = await catalogs.put(params.catalog, definition, changeOf(request));
      reply.code(created ? 201 : 200);
      return answer(reply, record);
    },
  );

  app.delete(
    '/v1/catalogs/:catalog',
    {
      config: { errors: [...ofCatalogs, ...ofChanges, ...ofThreads, 'ESP_SET_IN_USE'] },
      schema: {
        tags,
        summary: 'Delete a catalog with its versions and constraint sets',
        params: CatalogPath,
        response: { 204: Type.Null() },
      },
    },
    async (request, reply) => {
      await catalogs.delete(request.params.catalog, changeOf(request));
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/v1/catalogs/:catalog/versions',
    {
      config: { errors: [...ofCatalogs] },
      schema: {
        tags,
        summary: 'The versions of a catalog',
        params: CatalogPath,
        response: { 200: Type.Object({ versions: Type.Array(VersionResource) }) },
      },
    },
    ({ params }) => {
      const { active } = catalogs.get(params.catalog);
      const versions = catalogs.versions(params.catalog);
      return { versions: versions.map((one) => versionResource(one, one.version === active?.version)) };
    },
  );

  app.post(
    '/v1/catalogs/:catalog/versions/:version/activate',
    {
      config: { errors: [...ofCatalogs, ...ofActivations, 'ESP_VERSION_NOT_FOUND'] },
      schema: {
        tags,
        summary: 'Make a version and the model that it was built for active, with every set prepared for it',
        params: VersionPath,
        response: { 200: CatalogResource },
      },
    },
    async (request, reply) => {
      const { catalog, version } = request.params;
      return answer(reply, await catalogs.activate(catalog, Number(version), changeOf(request)));
    },
  );

  app.post(
    '/v1/catalogs/:catalog/rollback',
    {
      config: {
        errors: [...ofCatalogs, ...ofActivations, 'ESP_VERSION_NOT_FOUND', 'ESP_ROLLBACK_UNAVAILABLE'],
      },
      preValidation: bodyIsOptional,
      schema: {
        tags,
        summary: 'Bring back the version and the model that were active before',
        params: CatalogPath,
        body: VersionChoice,
        response: { 200: CatalogResource },
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      return answer(reply, await catalogs.rollback(params.catalog, body.version, changeOf(request)));
    },
  );
};

function summary({ name, active, model }: CatalogRecord, version: VersionRecord | undefined) {
  return {
    name,
    activeVersion: active?.version ?? null,
    items: version?.items ?? 0,
    leaves: version?.leaves ?? 0,
    model: { name: model.name, version: model.version },
    active,
  };
}

function resource(record: CatalogRecord, active: VersionRecord | undefined) {
  const { codebookSizes, attributes, earlier, createdAt, createdBy } = record;
  return {
    ...summary(record, active),
    sid: { codebookSizes },
    attributes,
    earlier,
    createdAt,
    ...(createdBy !== undefined && { createdBy }),
  };
}

function versionResource({ model, ...record }: VersionRecord, active: boolean) {
  const { name, version, info } = model;
  return {
    ...record,
    active,
    model: { name, version, ...(info && { fingerprint: info.fingerprint }) },
    ...(info && { sid: { codebookSizes: [...info.codebookSizes] } }),
  };
}

function checkAttributeNames(names: string[]): void {
  const reserved = names.filter(isReservedAttribute);
  if (reserved.length === 0) return;
  const message = `attributes: ${reserved.join(', ')}: items or rules use this name for something else`;
  throw new EspalierError('ESP_REQUEST_INVALID', message, {
    details: reserved.map((name) => ({ field: `attributes.${name}`, expected: 'another name', found: name })),
  });
}
