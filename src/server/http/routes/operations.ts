import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { cudaStates } from '../../kernel-facts.js';
import type { AppDeps } from '../app-deps.js';

const Health = Type.Object({
  status: Type.String(),
  kernel: Type.String({ description: 'What builds, derives sets and scans.' }),
  step: Type.String({ description: 'What runs the decode step; both, where engines differ.' }),
  cuda: Type.Object({
    state: Type.String({ description: `How CUDA stands: ${cudaStates.join(', ')}.` }),
    message: Type.String({ description: 'The device, what was decided, or why steps do not run there.' }),
  }),
});
const Readiness = Type.Object({
  status: Type.String({ description: '`ready` or `not ready`.' }),
  reasons: Type.Array(Type.String(), {
    description: 'Why the server should not get traffic; empty when it should.',
  }),
  degraded: Type.Array(Type.String(), {
    description:
      'What it cannot do although recommending goes on, such as uploads while Redis does not answer.',
  }),
});

/** Liveness, readiness and metrics. */
export const operationsRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, deps) => {
  app.get(
    '/healthz',
    { schema: { tags: ['operations'], summary: 'Whether the process lives', response: { 200: Health } } },
    () => {
      const { name, stepNames, cuda } = deps.kernel;
      const { state, message } = cuda;
      return { status: 'ok', kernel: name, step: stepNames.join(', '), cuda: { state, message } };
    },
  );

  app.get(
    '/readyz',
    {
      schema: {
        tags: ['operations'],
        summary: 'Whether catalogs are active and served, and what is degraded',
        response: { 200: Readiness, 503: Readiness },
      },
    },
    async (_request, reply) => {
      const reasons = deps.notReadyReasons();
      const isReady = reasons.length === 0;
      const status = isReady ? 'ready' : 'not ready';
      return reply.code(isReady ? 200 : 503).send({ status, reasons, degraded: deps.readiness.degraded() });
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        tags: ['operations'],
        summary: 'Prometheus metrics',
        response: { 200: { content: { 'text/plain': { schema: Type.String() } } } },
      },
    },
    async (_request, reply) => {
      reply.type(deps.metrics.registry.contentType);
      return deps.metrics.registry.metrics();
    },
  );
};
