import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cudaOff } from '../../../src/kernels/index.js';
import { loadConfig } from '../../../src/server/config.js';
import { buildApp } from '../../../src/server/http/app.js';
import type { AppDeps } from '../../../src/server/http/app-deps.js';
import { HttpListener } from '../../../src/server/http/http-listener.js';
import { Pressure } from '../../../src/server/http/pressure.js';
import { KernelFacts } from '../../../src/server/kernel-facts.js';
import { Metrics } from '../../../src/server/metrics/index.js';
import { createKey } from '../../../src/server/security/key-file.js';
import { needOf, routeScopes } from '../../../src/server/security/route-scopes.js';
import { startSecurity } from '../../../src/server/security/start-security.js';

/** The application with all that guards it; nothing behind its routes is reached. */
const dataDir = mkdtempSync(join(tmpdir(), 'espalier-scopes-'));
const stops: (() => Promise<void> | void)[] = [];
const warnings: string[] = [];
let app: FastifyInstance;

beforeAll(async () => {
  await createKey(dataDir, { name: 'shop', scopes: ['recommend'] });
  const config = loadConfig({ dataDir, modelsDir: dataDir }, {});
  const logger = pino({ level: 'warn' }, { write: (line) => warnings.push(JSON.parse(line).msg) });
  const kernel = new KernelFacts({ name: 'js', stepName: 'js' }, cudaOff('in a test'), () => []);
  const metrics = new Metrics({
    kernel,
    decoding: () => ({ queueLength: 0, engineCount: 0 }),
    sets: () => [],
    catalogs: () => [],
    isRedisThere: undefined,
  });
  const security = startSecurity(config, metrics.security, logger, stops);
  const listener = new HttpListener(config, () => {});
  const readiness = { isDraining: false };
  const pressure = new Pressure(0, () => {});
  stops.push(() => pressure.close());
  const deps = {
    ...security,
    config,
    metrics,
    kernel,
    listener,
    pressure,
    readiness,
    notReadyReasons: () => [],
    // It serves something, so that all schemas are compiled at once.
    catalogs: { list: () => [{ active: {} }] },
  };
  app = await buildApp(deps as unknown as AppDeps, logger);
});
afterAll(async () => {
  await app.close();
  for (const stop of stops) await stop();
  rmSync(dataDir, { recursive: true });
});

it('says of every route what it takes', () => {
  expect(warnings).toEqual([]);
});

it('takes admin for what is no route, or not listed', () => {
  expect(needOf('GET', undefined)).toBe('admin');
  expect(needOf('POST', '/v1/forgotten')).toBe('admin');
  expect(needOf('POST', '/docs')).toBe('admin');
  expect(needOf('GET', '/docsx')).toBe('admin');
  expect(needOf('GET', 'constructor')).toBe('admin');
});

it('opens nothing but probes and documentation', () => {
  const open = Object.entries(routeScopes).filter(([, need]) => need === 'open');
  expect(open.map(([route]) => route).sort()).toEqual([
    'ANY /grpc.health.v1.Health*',
    'GET /docs*',
    'GET /healthz',
    'GET /openapi.json',
    'GET /readyz',
    'GET /v2',
    'GET /v2/health/live',
    'GET /v2/health/ready',
  ]);
});

it('asks for a key at every route that is not open, whatever its method', async () => {
  for (const [index, [route, need]] of Object.entries(routeScopes).entries()) {
    const [method, pattern] = route.split(' ') as ['GET', string];
    const url = pattern.replaceAll(/:\w+/g, '1').replace('*', '');
    // Each from an address of its own, since many without a key from one are told to wait.
    const remoteAddress = `10.0.0.${index}`;
    if (need === 'open' || !app.hasRoute({ method, url: pattern })) continue;
    expect([route, (await app.inject({ method, url, remoteAddress })).statusCode]).toEqual([route, 401]);
    if (method === 'GET' && app.hasRoute({ method: 'HEAD', url: pattern })) {
      expect([route, (await app.inject({ method: 'HEAD', url, remoteAddress })).statusCode]).toEqual([
        route,
        401,
      ]);
    }
  }
});

it('lets the pages of the documentation run their own scripts and nothing else', async () => {
  const page = await app.inject({ url: '/docs/' });
  expect(page.statusCode).toBe(200);
  const policy = String(page.headers['content-security-policy']);
  expect(policy).toContain("default-src 'self'");
  expect(policy).toContain("script-src 'self';");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain('upgrade-insecure-requests');
  expect(page.headers['x-content-type-options']).toBe('nosniff');
  const scripts = Array.from(page.body.matchAll(/<script([^>]*)>([^<]*)</g), ([, source, inline]) => ({
    source,
    inline,
  }));
  expect(scripts.length).toBeGreaterThan(1);
  for (const { source, inline } of scripts) {
    expect(inline.trim()).toBe('');
    expect(source).toMatch(/src="\.?\/?(docs\/)?static\/|src="\.\//);
  }
});
