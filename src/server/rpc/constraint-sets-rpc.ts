import type { ServiceImpl } from '@connectrpc/connect';
import { type Bridge, segment } from './bridge.js';
import { ConstraintSetService } from './generated/espalier/v1/constraint_sets_pb.js';
import { BuildResponseSchema } from './generated/espalier/v1/jobs_pb.js';
import { readUpload, type UploadWait, uploadHeaders } from './upload-stream.js';

/** Constraint sets and aliases, as the HTTP routes have them. */
export function constraintSetsRpc(
  bridge: Bridge,
  wait: UploadWait,
): ServiceImpl<typeof ConstraintSetService> {
  const { method } = ConstraintSetService;
  const sets = ({ catalog }: { catalog: string }) =>
    `/v1/catalogs/${segment('catalog', catalog)}/constraint-sets`;
  const at = (message: { catalog: string; set: string }, rest = '') =>
    `${sets(message)}/${segment('set', message.set)}${rest}`;
  return {
    listConstraintSets: bridge.unary(method.listConstraintSets, (message) => ({
      method: 'GET',
      path: sets(message),
    })),
    getConstraintSet: bridge.unary(method.getConstraintSet, (message) => ({
      method: 'GET',
      path: at(message),
    })),
    putConstraintSet: bridge.unary(method.putConstraintSet, (message, { catalog: _, set: __, ...body }) => ({
      method: 'PUT',
      path: at(message),
      body,
    })),
    deleteConstraintSet: bridge.unary(method.deleteConstraintSet, (message) => ({
      method: 'DELETE',
      path: at(message),
    })),
    activateConstraintSet: bridge.unary(method.activateConstraintSet, (message) => ({
      method: 'POST',
      path: at(message, '/activate'),
      body: { version: message.version },
    })),
    rollbackConstraintSet: bridge.unary(
      method.rollbackConstraintSet,
      (message, { catalog: _, set: __, ...body }) => ({
        method: 'POST',
        path: at(message, '/rollback'),
        body,
      }),
    ),
    async uploadList(messages, context) {
      const { header, chunks } = await readUpload(messages, wait);
      const path = at(header, `/versions?activate=${header.activate}`);
      const call = { path, headers: uploadHeaders(header) };
      return bridge.upload(BuildResponseSchema, call, chunks, context);
    },
    previewRule: bridge.unary(method.previewRule, (message, { catalog: _, ...body }) => ({
      method: 'POST',
      path: `${sets(message)}/preview`,
      body,
    })),
    listAliases: bridge.unary(method.listAliases, () => ({ method: 'GET', path: '/v1/aliases' })),
    changeAliases: bridge.unary(method.changeAliases, (_message, body) => ({
      method: 'POST',
      path: '/v1/aliases',
      body,
    })),
  };
}
