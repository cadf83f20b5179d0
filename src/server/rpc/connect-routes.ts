import { createContextValues } from '@connectrpc/connect';
import { fastifyConnectPlugin } from '@connectrpc/connect-fastify';
import type { FastifyPluginAsync } from 'fastify';
import type { AppDeps } from '../http/app-deps.js';
import { sheddingGuard } from './guard.js';
import { rpcOptions, rpcRoutes, services } from './routes.js';
import { remoteAddress } from './rpc-deps.js';
import { pathsOfOneMessage } from './slow-calls.js';

/** Connect and gRPC-Web on the HTTP port, at paths such as `/espalier.v1.RecommendationService/Recommend`. */
export const connectRoutes: FastifyPluginAsync<AppDeps> = async (app, deps) => {
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());
  // The document is of JSON over HTTP; these services have one of their own, in proto/.
  const shortPaths = pathsOfOneMessage(services);
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, hide: true };
    route.config = { ...route.config, isStreamed: !shortPaths.has(route.url) };
  });
  // Connect reads bodies itself.
  app.removeAllContentTypeParsers();
  const rpcDeps = {
    ...deps,
    app,
    guard: sheddingGuard(deps.gatekeeper, deps.pressure),
    closing: closing.signal,
  };
  await app.register(fastifyConnectPlugin, {
    ...rpcOptions(deps),
    grpc: false,
    routes: rpcRoutes(rpcDeps),
    contextValues: ({ ip }) => createContextValues().set(remoteAddress, ip),
  });
};
