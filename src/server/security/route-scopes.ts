import type { Scope } from './api-keys.js';

/** What it takes to call a route: nothing, any valid key, or a key with a scope. */
export type Need = 'open' | 'anyKey' | Scope;

/**
 * Every route of every protocol and what it takes, by method (ANY: whatever it is) and pattern; a `*` at the end stands for any rest. A route
 * that is not here takes `admin`: who forgets to add one locks it, and a test says so.
 */
export const routeScopes: Readonly<Record<string, Need>> = {
  'GET /healthz': 'open',
  'GET /readyz': 'open',
  'GET /v2/health/live': 'open',
  'GET /v2/health/ready': 'open',
  'GET /openapi.json': 'open',
  'GET /docs*': 'open',
  'GET /metrics': 'anyKey',
  'GET /v2': 'open',
  'GET /v2/models/:model': 'anyKey',
  'GET /v2/models/:model/ready': 'anyKey',

  'ANY /espalier.v1.RecommendationService*': 'recommend',
  // What they ask for is checked again as a request to the routes below.
  'ANY /espalier.v1.CatalogService*': 'anyKey',
  'ANY /espalier.v1.ConstraintSetService*': 'anyKey',
  'ANY /espalier.v1.JobService*': 'anyKey',
  'ANY /grpc.health.v1.Health*': 'open',

  'POST /v1/recommend': 'recommend',
  'POST /v1/recommend/batch': 'recommend',
  'POST /v1/bulk-recommendations': 'recommend',
  'POST /v1/bulk-recommendations/jobs': 'write',
  'GET /v1/bulk-recommendations/jobs/:id/output': 'write',
  'DELETE /v1/bulk-recommendations/jobs/:id/output': 'write',

  'GET /v1/catalogs': 'write',
  'GET /v1/catalogs/:catalog': 'write',
  'PUT /v1/catalogs/:catalog': 'write',
  'DELETE /v1/catalogs/:catalog': 'admin',
  'GET /v1/catalogs/:catalog/versions': 'write',
  'POST /v1/catalogs/:catalog/versions': 'write',
  'POST /v1/catalogs/:catalog/versions/:version/activate': 'write',
  'POST /v1/catalogs/:catalog/rollback': 'write',
  'PATCH /v1/catalogs/:catalog/items': 'write',
  'GET /v1/catalogs/:catalog/items/:id': 'write',
  'GET /v1/catalogs/:catalog/constraint-sets': 'write',
  'POST /v1/catalogs/:catalog/constraint-sets/preview': 'write',
  'GET /v1/catalogs/:catalog/constraint-sets/:set': 'write',
  'PUT /v1/catalogs/:catalog/constraint-sets/:set': 'write',
  'DELETE /v1/catalogs/:catalog/constraint-sets/:set': 'write',
  'GET /v1/catalogs/:catalog/constraint-sets/:set/versions': 'write',
  'POST /v1/catalogs/:catalog/constraint-sets/:set/versions': 'write',
  'POST /v1/catalogs/:catalog/constraint-sets/:set/activate': 'write',
  'POST /v1/catalogs/:catalog/constraint-sets/:set/rollback': 'write',
  'GET /v1/aliases': 'write',
  'POST /v1/aliases': 'write',
  'GET /v1/jobs': 'write',
  'GET /v1/jobs/:id': 'write',
  'GET /v1/jobs/:id/events': 'write',
  'DELETE /v1/jobs/:id': 'write',
  'GET /v1/models': 'write',
  'GET /v1/models/:model': 'write',
  'POST /v1/models/:model/load': 'admin',
  'GET /v1/audit': 'admin',
};

const byPrefix = Object.entries(routeScopes).flatMap(([route, need]) =>
  route.endsWith('*') ? [{ prefix: route.slice(0, -1), need }] : [],
);

/** What the table says of a route; undefined where it says nothing. HEAD is like GET. */
export function listedNeed(method: string, pattern: string): Need | undefined {
  const routes = [`${method === 'HEAD' ? 'GET' : method} ${pattern}`, `ANY ${pattern}`];
  for (const route of routes) {
    if (Object.hasOwn(routeScopes, route)) return routeScopes[route];
    const found = byPrefix.find(({ prefix }) => route === prefix || route.startsWith(`${prefix}/`));
    if (found !== undefined) return found.need;
  }
  return undefined;
}

/** @param pattern undefined for what is no route */
export function needOf(method: string, pattern: string | undefined): Need {
  return (pattern === undefined ? undefined : listedNeed(method, pattern)) ?? 'admin';
}
