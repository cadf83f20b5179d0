import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyInstance } from 'fastify';
import { packageVersion } from '../package-version.js';
import type { AppDeps } from './app-deps.js';
import { badRequest, handleError, notFound } from './errors.js';
import { catalogRoutes } from './routes/catalogs.js';
import { constraintSetRoutes } from './routes/constraint-sets.js';
import { jobRoutes } from './routes/jobs.js';
import { operationsRoutes } from './routes/operations.js';
import { recommendRoutes } from './routes/recommend.js';
import { MAX_NAME_LENGTH } from './schemas.js';

/** The HTTP application, not listening yet. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const { config, metrics } = deps;
  const app = Fastify({
    logger: { level: config.logLevel },
    bodyLimit: config.bodyLimitBytes,
    genReqId: () => crypto.randomUUID(),
    routerOptions: { maxParamLength: MAX_NAME_LENGTH },
    // Faults that the router finds before any route: malformed URLs, names that are too long.
    frameworkErrors: badRequest,
    ajv: {
      // Fastify's defaults would strip a misspelt field, and answer as if the constraint were not there.
      customOptions: {
        removeAdditional: false,
        coerceTypes: false,
        allErrors: true,
        verbose: true,
        useDefaults: true,
      },
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.setErrorHandler(handleError);
  app.setNotFoundHandler(notFound);
  app.addHook('onResponse', async (request, reply) => {
    const labels = {
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      status: String(reply.statusCode),
    };
    metrics.requestDuration.observe(labels, reply.elapsedTime / 1000);
  });

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Espalier',
        description: 'Constrained decoding for generative retrieval.',
        version: packageVersion(),
        license: { name: 'Apache-2.0' },
      },
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { defaultModelsExpandDepth: -1 },
    // The top bar only asks for the address of another document.
    theme: {
      title: 'Espalier',
      css: [{ filename: 'espalier.css', content: '.swagger-ui .topbar { display: none }' }],
    },
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(recommendRoutes, deps);
  await app.register(catalogRoutes, deps);
  await app.register(constraintSetRoutes, deps);
  await app.register(jobRoutes, deps);
  await app.register(operationsRoutes, deps);
  await app.ready();
  return app;
}
