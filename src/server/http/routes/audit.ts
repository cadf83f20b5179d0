import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { AppDeps } from '../app-deps.js';
import { closed, nullable } from '../schemas/common.js';

const AuditQuery = Type.Object(
  { limit: Type.Optional(Type.String({ pattern: '^([1-9][0-9]{0,2}|1000)$', default: '100' })) },
  closed,
);
const AuditEntry = Type.Object({
  at: Type.String(),
  by: nullable(Type.String()),
  keyId: Type.Optional(Type.String()),
  action: Type.String({ description: 'The route, "job end", "keys create" or "keys revoke".' }),
  target: Type.Record(Type.String(), Type.String()),
  version: Type.Optional(Type.Integer()),
  outcome: Type.Enum(['done', 'accepted', 'failed']),
  code: Type.Optional(Type.String()),
  requestId: Type.Optional(Type.String()),
  address: Type.Optional(Type.String()),
});

/** Who changed what. */
export const auditRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { audit }) => {
  app.get(
    '/v1/audit',
    {
      schema: {
        tags: ['operations'],
        summary: 'The latest changes, the newest first: who, what, which version, when',
        querystring: AuditQuery,
        response: { 200: Type.Object({ entries: Type.Array(AuditEntry) }) },
      },
    },
    async ({ query: { limit } }) => ({ entries: await audit.latest(Number(limit)) }),
  );
};
