import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import multipart from '@fastify/multipart';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ItemFormat } from '../../../static-trie/index.js';
import type { AppDeps } from '../app-deps.js';
import { changeOf } from '../change-headers.js';
import { receiveUpload } from '../receive-upload.js';
import { BuildAnswer, CatalogPath, closed } from '../schemas.js';
import { uploadFormats } from '../upload-kinds.js';
import { formOptions } from '../upload-parts.js';

/** Read as streams; the schemas are documentation. */
const descriptions: Record<ItemFormat, string> = {
  ndjson: 'One JSON object a line: id, sid (a list of codes), and the attributes that the catalog declares.',
  csv: 'A header of column names; SIDs as 17-203-9, lists as a|b; an empty field is missing.',
  parquet: 'SIDs and lists as list columns.',
  arrow: 'SIDs and lists as list columns.',
};

const content = {
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

/** Uploads of items. A plugin of its own, so that only this route takes their content type. */
export const uploadRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { catalogs, store, config }) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(Object.keys(uploadFormats), (_request, payload, done) => done(null, payload));
  await app.register(multipart, formOptions);

  app.post(
    '/v1/catalogs/:catalog/versions',
    {
      schema: {
        tags: ['catalogs'],
        summary:
          'Upload items as NDJSON, CSV, Parquet or Arrow IPC, packed with gzip or not, or several such files as a form; builds a new version',
        body: { content },
        params: CatalogPath,
        querystring: Type.Object({ activate: Type.Optional(Type.Enum(['true', 'false'])) }, closed),
        response: { 202: BuildAnswer },
      },
    },
    async (request, reply) => {
      const { catalog } = request.params;
      catalogs.get(catalog);
      const files = await receiveUpload(request, () => store.uploadPath(randomUUID()), config);
      try {
        const activate = request.query.activate === 'true';
        const started = catalogs.startBuild(catalog, files, activate, changeOf(request));
        return reply.code(202).send(started);
      } catch (thrown) {
        for (const { path } of files) rmSync(path, { force: true });
        throw thrown;
      }
    },
  );
};
