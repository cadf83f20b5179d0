import { randomUUID } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { EspalierError } from '../../../errors.js';
import type { CatalogRecord, VersionRecord } from '../../catalogs/catalog-store.js';
import type { AppDeps } from '../app-deps.js';
import {
  BuildAnswer,
  CatalogBody,
  CatalogPath,
  CatalogResource,
  CatalogSummary,
  closed,
  ErrorAnswer,
  isReservedAttribute,
  VersionPath,
  VersionResource,
} from '../schemas.js';

const NDJSON = 'application/x-ndjson';

/** Read as a stream, line by line; the schema is documentation. */
const ItemLines = Type.Any({
  description:
    'One JSON object a line: id, sid (a list of codes), and the attributes that the catalog declares.',
});

/** Catalogs and their versions. */
export const catalogRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs, store, config }) => {
  const tags = ['catalogs'];

  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));

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
        response: { 200: CatalogResource, 404: ErrorAnswer },
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
        response: { 200: CatalogResource, 201: CatalogResource, '4xx': ErrorAnswer },
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
        response: { 200: Type.Object({ versions: Type.Array(VersionResource) }), 404: ErrorAnswer },
      },
    },
    ({ params }) => {
      const { activeVersion } = catalogs.get(params.catalog);
      const versions = catalogs.versions(params.catalog);
      return { versions: versions.map((one) => ({ ...one, active: one.version === activeVersion })) };
    },
  );

  app.post(
    '/v1/catalogs/:catalog/versions',
    {
      schema: {
        tags,
        summary: 'Upload items as NDJSON; builds a new version',
        body: { content: { [NDJSON]: { schema: ItemLines } } },
        params: CatalogPath,
        querystring: Type.Object({ activate: Type.Optional(Type.Enum(['true', 'false'])) }, closed),
        response: { 202: BuildAnswer, '4xx': ErrorAnswer },
      },
    },
    async (request, reply) => {
      const { catalog } = request.params;
      catalogs.get(catalog);
      if (request.headers['content-type']?.split(';')[0].trim() !== NDJSON) {
        throw new EspalierError('ESP_MEDIA_TYPE', `items must come as ${NDJSON}`, {
          details: [
            { field: 'content-type', expected: NDJSON, found: request.headers['content-type'] ?? 'nothing' },
          ],
        });
      }
      const uploadPath = store.uploadPath(randomUUID());
      try {
        const limit = new ByteLimit(config.uploadLimitBytes);
        await pipeline(request.body as NodeJS.ReadableStream, limit, createWriteStream(uploadPath));
      } catch (thrown) {
        rmSync(uploadPath, { force: true });
        throw thrown;
      }
      return reply
        .code(202)
        .send(catalogs.startBuild(catalog, uploadPath, request.query.activate === 'true'));
    },
  );

  app.post(
    '/v1/catalogs/:catalog/versions/:version/activate',
    {
      schema: {
        tags,
        summary: 'Make a version the active one, with every constraint set prepared for it',
        params: VersionPath,
        response: { 200: CatalogResource, '4xx': ErrorAnswer },
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

/** Passes bytes on until they are too many. */
class ByteLimit extends Transform {
  #remaining: number;

  constructor(readonly limitBytes: number) {
    super();
    this.#remaining = limitBytes;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#remaining -= chunk.length;
    if (this.#remaining >= 0) done(null, chunk);
    else done(new EspalierError('ESP_BODY_TOO_LARGE', `the upload has more than ${this.limitBytes} bytes`));
  }
}
