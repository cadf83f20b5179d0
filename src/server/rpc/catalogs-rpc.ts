import type { JsonObject } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Bridge, segment } from './bridge.js';
import { CatalogService } from './generated/espalier/v1/catalogs_pb.js';
import { BuildResponseSchema } from './generated/espalier/v1/jobs_pb.js';
import { readUpload, type UploadWait, uploadHeaders } from './upload-stream.js';

/** Catalogs, as the HTTP routes have them. */
export function catalogsRpc(bridge: Bridge, wait: UploadWait): ServiceImpl<typeof CatalogService> {
  const { method } = CatalogService;
  const at = ({ catalog }: { catalog: string }, rest = '') =>
    `/v1/catalogs/${segment('catalog', catalog)}${rest}`;
  return {
    listCatalogs: bridge.unary(method.listCatalogs, () => ({ method: 'GET', path: '/v1/catalogs' })),
    getCatalog: bridge.unary(method.getCatalog, (message) => ({ method: 'GET', path: at(message) })),
    putCatalog: bridge.unary(method.putCatalog, (message, { catalog: _, ...body }) => ({
      method: 'PUT',
      path: at(message),
      body: withModelName(body),
    })),
    deleteCatalog: bridge.unary(method.deleteCatalog, (message) => ({ method: 'DELETE', path: at(message) })),
    listVersions: bridge.unary(method.listVersions, (message) => ({
      method: 'GET',
      path: at(message, '/versions'),
    })),
    activateVersion: bridge.unary(method.activateVersion, (message) => ({
      method: 'POST',
      path: at(message, `/versions/${message.version}/activate`),
    })),
    rollbackCatalog: bridge.unary(method.rollbackCatalog, (message, { catalog: _, ...body }) => ({
      method: 'POST',
      path: at(message, '/rollback'),
      body,
    })),
    async uploadItems(messages, context) {
      const { header, chunks } = await readUpload(messages, wait);
      const path = at(header, `/versions?activate=${header.activate}`);
      const call = { path, headers: uploadHeaders(header) };
      return bridge.upload(BuildResponseSchema, call, chunks, context);
    },
    patchItems: bridge.unary(method.patchItems, (message, { catalog: _, ...body }) => ({
      method: 'PATCH',
      path: at(message, '/items'),
      body,
    })),
    getItem: bridge.unary(method.getItem, (message) => ({
      method: 'GET',
      path: at(message, `/items/${segment('id', message.id)}`),
    })),
  };
}

/** HTTP names the newest version of a model by its name alone. */
function withModelName(body: JsonObject): JsonObject {
  const model = body.model as JsonObject | undefined;
  return model === undefined || 'version' in model ? body : { ...body, model: model.name };
}
