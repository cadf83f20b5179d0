import helmet from '@fastify/helmet';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { credentialsOf, type Gatekeeper, type Principal } from '../security/gatekeeper.js';
import { checkLocal, isLoopback } from '../security/local-only.js';
import type { LimitKind, Quota } from '../security/rate-limits.js';
import { listedNeed, type Need } from '../security/route-scopes.js';
import type { AppDeps } from './app-deps.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; null until that is known. */
    principal: Principal | null;
  }
}

/**
 * Checks every request before anything of its body is read: where it comes from, its key, its rate. Must come before
 * the routes.
 */
export async function guard(app: FastifyInstance, { gatekeeper, limits, config }: AppDeps): Promise<void> {
  await limits.start(app);
  await app.register(helmet, { contentSecurityPolicy, strictTransportSecurity: false });
  const { host, allowUnauthenticated } = config;
  const isLocalOnly = isLoopback(host) && !allowUnauthenticated;
  warnOfUnlistedRoutes(app);
  app.decorateRequest('principal', null);
  app.addHook('onRequest', async (request, reply) => {
    const { method, headers, ip, routeOptions } = request;
    const need = gatekeeper.needOf(method, routeOptions.url);
    if (need !== 'open' && isLocalOnly && gatekeeper.isOpen) checkLocal(headers, host);
    request.principal = authorize(gatekeeper, request, ip);
    const kind = limitKindOf(method, need);
    if (kind === undefined) return;
    await gatekeeper.count(kind, request.principal, ip, (quota) => reply.headers(quotaHeaders(quota)));
  });
}

/**
 * Whether a request's key allows it. Asked again, too, for what goes on after it was let in.
 * @param address whose wrong keys are counted; left out, they are not
 * @throws EspalierError as `Gatekeeper.authorize`
 */
export function authorize(gatekeeper: Gatekeeper, request: FastifyRequest, address?: string): Principal {
  const { method, headers, routeOptions } = request;
  const need = gatekeeper.needOf(method, routeOptions.url);
  return gatekeeper.authorize(need === 'open' ? undefined : credentialsOf(headers), need, address);
}

/**
 * What the pages of /docs need and no more. Without the upgrade of requests and without HSTS: the server speaks HTTP,
 * and TLS is the proxy's.
 */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'self'"],
    scriptSrc: ["'self'"],
    scriptSrcAttr: ["'none'"],
    // Swagger UI sets styles on elements.
    styleSrc: ["'self'", "'unsafe-inline'"],
    imgSrc: ["'self'", 'data:'],
    objectSrc: ["'none'"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
};

function warnOfUnlistedRoutes(app: FastifyInstance): void {
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) {
      if (listedNeed(one, url) === undefined)
        app.log.warn(`${one} ${url} is in no table of scopes: it takes admin`);
    }
  });
}

function limitKindOf(method: string, need: Need): LimitKind | undefined {
  if (need === 'recommend') return 'recommend';
  return isReading(method) || need === 'open' || need === 'anyKey' ? undefined : 'write';
}

export function isReading(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

function quotaHeaders({ limit, remaining, resetSeconds }: Quota): Record<string, string> {
  return {
    'ratelimit-limit': String(limit),
    'ratelimit-remaining': String(remaining),
    'ratelimit-reset': String(resetSeconds),
  };
}
