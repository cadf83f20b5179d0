import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { describe, EspalierError } from '../../errors.js';
import { requestIdOf } from '../logs/request-id.js';
import type { Readiness } from '../readiness.js';
import { compileRequestCheck } from '../recommend/check-request.js';
import { connectRoutes } from '../rpc/connect-routes.js';
import type { AppDeps } from './app-deps.js';
import { auditChanges } from './audit-changes.js';
import { documentApi } from './document-api.js';
import { badConnection, badRequest, handleError, notFound } from './errors.js';
import { guard } from './guard.js';
import { acceptJsonOnly } from './json-body.js';
import { LazyCompilers } from './lazy-compilers.js';
import { shedUnderPressure } from './pressure.js';
import { QuietLogController, watchRequests } from './request-hooks.js';
import { aliasRoutes } from './routes/aliases.js';
import { auditRoutes } from './routes/audit.js';
import { bulkRoutes } from './routes/bulk.js';
import { bulkJobRoutes } from './routes/bulk-jobs.js';
import { catalogRoutes } from './routes/catalogs.js';
import { constraintSetRoutes } from './routes/constraint-sets.js';
import { itemRoutes } from './routes/items.js';
import { jobRoutes } from './routes/jobs.js';
import { modelRoutes } from './routes/models.js';
import { openInferenceRoutes } from './routes/open-inference.js';
import { operationsRoutes } from './routes/operations.js';
import { recommendRoutes } from './routes/recommend.js';
import { uploadRoutes } from './routes/uploads.js';
import { MAX_ID_LENGTH, NoQuery } from './schemas/common.js';
import { refuseSlowBodies } from './slow-bodies.js';
import { UploadDesk } from './upload-desk.js';

/** The HTTP application, not listening yet. */
export async function buildApp(deps: AppDeps, logger: FastifyBaseLogger): Promise<FastifyInstance> {
  const { config, metrics, listener, readiness } = deps;
  const compilers = new LazyCompilers();
  const app = Fastify({
    loggerInstance: logger,
    serverFactory: listener.createServer,
    // What comes on an open connection during a stop is still answered.
    return503OnClosing: false,
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
      const code = badConnection(thrown, socket);
      if (code !== undefined) metrics.recordError(code);
    },
    schemaController: { compilersFactory: compilers.factories },
    ajv: {
      // Fastify's defaults would strip a misspelt field, and answer as if the constraint were not there.
      // One fault at a time: collecting all of a large body's would keep this thread busy.
      customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false, verbose: true },
    },
  });
  // Node would drop headers beyond 2,000 silently, an If-Match among them; their bytes are bounded.
  app.server.maxHeadersCount = 0;
  app.setErrorHandler(handleError);
  app.setNotFoundHandler(notFound);
  acceptJsonOnly(app);
  watchRequests(app, deps);
  leaveWhileDraining(app, readiness);
  refuseSlowBodies(app, config.bodyTimeoutMs);
  shedUnderPressure(app, deps.pressure);
  await guard(app, deps);
  auditChanges(app, deps);
  await documentApi(app);
  refuseWhatRoutesDoNotRead(app);
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(recommendRoutes, deps);
  await app.register(bulkRoutes, deps);
  const uploads = new UploadDesk(deps);
  await app.register(bulkJobRoutes, { ...deps, uploads });
  await app.register(catalogRoutes, deps);
  await app.register(uploadRoutes, { ...deps, uploads });
  await app.register(itemRoutes, deps);
  await app.register(constraintSetRoutes, deps);
  await app.register(aliasRoutes, deps);
  await app.register(modelRoutes, deps);
  await app.register(jobRoutes, deps);
  await app.register(operationsRoutes, deps);
  await app.register(auditRoutes, deps);
  await app.register(openInferenceRoutes, deps);
  await app.register(connectRoutes, deps);
  await app.ready();
  if (deps.catalogs.list().some(({ active }) => active !== null)) {
    compilers.compileAll();
    compileRequestCheck();
  }
  return app;
}

/** Clients are told to come back on another connection, which reaches another server, before this one closes theirs. */
function leaveWhileDraining(app: FastifyInstance, readiness: Readiness): void {
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (readiness.isDraining) reply.header('connection', 'close');
    done(null, payload);
  });
}

/** A query or a body that a route does not read is refused, not ignored. */
function refuseWhatRoutesDoNotRead(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    route.schema = { querystring: NoQuery, ...route.schema };
  });
  app.addHook('preValidation', async (request) => {
    const { body, routeOptions, is404 } = request;
    if (is404 || body === undefined || body === null || routeOptions.schema?.body !== undefined) return;
    throw new EspalierError('ESP_REQUEST_INVALID', `this route reads no body, found ${describe(body)}`, {
      details: [{ field: 'body', expected: 'nothing', found: describe(body) }],
    });
  });
}
