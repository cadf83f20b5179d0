import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { call, grpcClient, healthClient, struct } from '../helpers/grpc.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { makeSmallCatalog, putRule } from '../helpers/small-server.js';

let server: ServerProcess;
let recommendations: ReturnType<typeof grpcClient>;

beforeAll(async () => {
  server = await startTestServer(makeDataDir(), ['--grpc-port', '0']);
  await makeSmallCatalog(server);
  await putRule(server, 'red', 'colour == "red"');
  recommendations = grpcClient(server.grpcAddress!, 'RecommendationService');
});
afterAll(() => {
  recommendations.close();
  return server.stop();
});

describe('smoke', () => {
  it('answers', async () => {
    console.log(JSON.stringify(await call(recommendations, 'Recommend', { catalog: 'small', constraint: { set: 'red', filter: 'price >= params.a', params: struct({ a: 0 }) }, attributes: ['price', 'colour'], explain: { items: ['0-0', '1-2'] } })));
    console.log(JSON.stringify(await call(recommendations, 'Recommend', { catalog: 'small', k: 0 })));
    const catalogs = grpcClient(server.grpcAddress!, 'CatalogService');
    console.log(JSON.stringify(await call(catalogs, 'ListCatalogs', {})));
    console.log(JSON.stringify(await call(catalogs, 'GetCatalog', { catalog: '..' })));
    console.log(JSON.stringify(await call(catalogs, 'GetItem', { catalog: 'small', id: '0-0' })));
    console.log(JSON.stringify(await call(healthClient(server.grpcAddress!), 'Check', {})));
    const r = await fetch(`${server.url}/espalier.v1.RecommendationService/Recommend`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ catalog: 'small', k: 2 }) });
    console.log(r.status, await r.text());
    console.log((await send(server, 'GET', '/openapi.json')).status);
  });
});
