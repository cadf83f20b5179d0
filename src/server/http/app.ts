import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { describe, EspalierError } from '../../errors.js';
import { findRepeatedName } from '../../static-trie/index.js';
import { requestIdOf } from '../logs/request-id.js';
import { packageVersion } from '../package-version.js';
import type { AppDeps } from './app-deps.js';
import { badConnection, badRequest, handleError, notFound } from './errors.js';
import { QuietLogController, watchRequests } from './request-hooks.js';
import { aliasRoutes } from './routes/aliases.js';
import { catalogRoutes } from './routes/catalogs.js';
import { constraintSetRoutes } from './routes/constraint-sets.js';
import { itemRoutes } from './routes/items.js';
import { jobRoutes } from './routes/jobs.js';
import { modelRoutes } from './routes/models.js';
import { operationsRoutes } from './routes/operations.js';
import { recommendRoutes } from './routes/recommend.js';
import { uploadRoutes } from './routes/uploads.js';
import { ErrorAnswer, MAX_ID_LENGTH, NoQuery } from './schemas/common.js';

/** The HTTP application, not listening yet. */
export async function buildApp(deps: AppDeps, logger: FastifyBaseLogger): Promise<FastifyInstance> {
  const { config, metrics } = deps;
  const app = Fastify({
    loggerInstance: logger,
    bodyLimit: config.bodyLimitBytes,
    logController: new QuietLogController(),
    genReqId: ({ headers }) => requestIdOf(headers),
    routerOptions: { maxParamLength: 12 * MAX_ID_LENGTH },
    // Faults that are found before any route: malformed URLs, names that are too long, malformed HTTP.
    frameworkErrors: (thrown, request, reply) => {
      metrics.recordError('ESP_REQUEST_INVALID');
      badRequest(thrown, request, reply);
    },
    clientErrorHandler: (thrown, socket) => {
      metrics.recordError('ESP_BODY_MALFORMED');
      badConnection(thrown, socket);
    },
    ajv: {
      // Fastify's defaults would strip a misspelt field, and answer as if the constraint were not there.
      // One fault at a time: collecting all of a large body's would keep this thread busy.
      customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false, verbose: true },
    },
  });
  app.setErrorHandler(handleError);
  app.setNotFoundHandler(notFound);
  acceptJsonOnly(app);
  watchRequests(app, deps);
  await documentApi(app);
  refuseWhatRoutesDoNotRead(app);
  await app.register(recommendRoutes, deps);
  await app.register(catalogRoutes, deps);
  await app.register(uploadRoutes, deps);
  await app.register(itemRoutes, deps);
  await app.register(constraintSetRoutes, deps);
  await app.register(aliasRoutes, deps);
  await app.register(modelRoutes, deps);
  await app.register(jobRoutes, deps);
  await app.register(operationsRoutes, deps);
  await app.ready();
  return app;
}

async function documentApi(app: FastifyInstance): Promise<void> {
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
}

/** JSON in which no name comes twice; any other content type is a 415. */
function acceptJsonOnly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    void parse(request, body as string, (error, json) => {
      const repeated = error ? undefined : findRepeatedName(body as string);
      if (repeated === undefined) return done(error, json);
      const details = [{ field: repeated, expected: 'each name once', found: `${repeated} twice` }];
      done(
        new EspalierError('ESP_REQUEST_INVALID', `the name ${repeated} comes twice in an object`, {
          details,
        }),
      );
    });
  });
}

/**
 * A query or a body that a route does not read is refused, not ignored. Every route also documents the errors
 * that any of them can give.
 */
function refuseWhatRoutesDoNotRead(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    route.schema = {
      querystring: NoQuery,
      ...route.schema,
      response: { '4xx': ErrorAnswer, '5xx': ErrorAnswer, ...(route.schema?.response as object) },
    };
  });
  app.addHook('preValidation', async (request) => {
    const { body, routeOptions } = request;
    if (body === undefined || body === null || routeOptions.schema?.body !== undefined) return;
    throw new EspalierError('ESP_REQUEST_INVALID', `this route reads no body, found ${describe(body)}`, {
      details: [{ field: 'body', expected: 'nothing', found: describe(body) }],
    });
  });
}
