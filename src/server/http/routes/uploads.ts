import multipart from '@fastify/multipart';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ItemFormat } from '../../../static-trie/index.js';
import { changeOf } from '../change-headers.js';
import { ofCatalogs, ofUploads } from '../route-errors.js';
import { CatalogPath, closed, SetPath } from '../schemas/common.js';
import { BuildAnswer, UploadHeaders } from '../schemas/jobs.js';
import type { UploadDeps } from '../upload-desk.js';
import { uploadFormats } from '../upload-kinds.js';
import { formOptions } from '../upload-parts.js';

/** Read as streams; the schemas are documentation. */
const itemFormats: Record<ItemFormat, string> = {
  ndjson: 'One JSON object a line: id, sid (a list of codes), and the attributes that the catalog declares.',
  csv: 'A header of column names; SIDs as 17-203-9, lists as a|b; an empty field is missing.',
  parquet: 'SIDs and lists as list columns.',
  arrow: 'SIDs and lists as list columns.',
};
const listFormats: Record<ItemFormat, string> = {
  ndjson: 'One id ("85123A") or SID ([17, 203, 9]) a line, or an object of one: {"id": …}, {"sid": …}.',
  csv: 'One column, id or sid.',
  parquet: 'One column, id or sid.',
  arrow: 'One column, id or sid.',
};

function contentOf(descriptions: Record<ItemFormat, string>) {
  return {
    ...Object.fromEntries(
      Object.entries(uploadFormats).map(([type, format]) => [
        type,
        { schema: Type.Any({ description: descriptions[format] }) },
      ]),
    ),
    'multipart/form-data': {
      schema: Type.Any({ description: 'Any number of such files, each of its own type.' }),
    },
  };
}

const ActivateQuery = Type.Object({ activate: Type.Optional(Type.Enum(['true', 'false'])) }, closed);

/** Uploads of items and of lists. A plugin of its own, so that only these routes take their content types. */
export const uploadRoutes: FastifyPluginAsyncTypebox<UploadDeps> = async (
  app,
  { catalogs, setBuilds, uploads },
) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(Object.keys(uploadFormats), (_request, payload, done) => done(null, payload));
  await app.register(multipart, formOptions);

  app.post(
    '/v1/catalogs/:catalog/versions',
    {
      config: {
        isShed: true,
        isStreamed: true,
        errors: [...ofCatalogs, ...ofUploads, 'ESP_PRECONDITION_FAILED'],
      },
      schema: {
        tags: ['catalogs'],
        summary:
          'Upload items as NDJSON, CSV, Parquet or Arrow IPC, packed with gzip or not, or several such files as a form; builds a new version',
        body: { content: contentOf(itemFormats) },
        params: CatalogPath,
        headers: UploadHeaders,
        querystring: ActivateQuery,
        response: { 202: BuildAnswer },
      },
    },
    async (request, reply) => {
      const { catalog } = request.params;
      const activate = request.query.activate === 'true';
      const change = changeOf(request);
      const started = await catalogs.receiveUpload(catalog, (upload) =>
        uploads.receive(request, (files, idempotency) =>
          catalogs.startBuild(upload, files, activate, change, idempotency),
        ),
      );
      return reply.code(202).send(started);
    },
  );

  app.post(
    '/v1/catalogs/:catalog/constraint-sets/:set/versions',
    {
      config: {
        isShed: true,
        isStreamed: true,
        errors: [...ofCatalogs, ...ofUploads, 'ESP_PRECONDITION_FAILED', 'ESP_ALIAS_CONFLICT'],
      },
      schema: {
        tags: ['constraint sets'],
        summary: 'Upload a list of ids or SIDs, in any of the formats of items, as the next version of a set',
        body: { content: contentOf(listFormats) },
        params: SetPath,
        headers: UploadHeaders,
        querystring: ActivateQuery,
        response: { 202: BuildAnswer },
      },
    },
    async (request, reply) => {
      const { catalog, set } = request.params;
      const activate = request.query.activate === 'true';
      const change = changeOf(request);
      catalogs.get(catalog);
      const started = await uploads.receive(request, (files, idempotency) =>
        setBuilds.start(catalog, set, files, activate, change, idempotency),
      );
      return reply.code(202).send(started);
    },
  );
};
