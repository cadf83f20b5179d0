import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { EspalierClient } from 'espalier/client';
import { CATALOG, loadRetail } from './retail.js';
import { startServerProcess } from './server-process.js';

/**
 * `npm run demo`: serves the bundled retail catalog and shows three requests to try. The catalog stays in
 * `.demo-data/`, so that a second start finds it there.
 */
const { values } = parseArgs({
  options: { port: { type: 'string', default: '8080' }, 'data-dir': { type: 'string' } },
});
const dataDir = values['data-dir'] ?? fileURLToPath(new URL('../../.demo-data', import.meta.url));
const server = await startServerProcess(dataDir, Number(values.port), ['--log-level', 'warn']);
process.once('SIGINT', () => server.process.kill('SIGTERM'));
process.once('SIGTERM', () => server.process.kill('SIGTERM'));

const client = new EspalierClient({ url: server.url });
const catalogs = await client.catalogs.list();
if (!catalogs.some(({ name, activeVersion }) => name === CATALOG && activeVersion !== null)) {
  console.log('Uploading the retail catalog (3,145 items) and five rules …');
  await loadRetail(server.url);
}

const attributes = ['title', 'price'];
// Lunch bags with red dots, with skulls, and in Suki design.
const history = ['20725', '20727', '22383'];
const common = { catalog: CATALOG, history, k: 5, excludeHistory: true, attributes };
const requests = [
  { note: 'Three lunch bags are in the basket. What goes with them?', body: common },
  {
    note: 'The same shopper, Christmas articles only',
    body: { ...common, constraint: { set: 'christmas' } },
  },
  {
    note: 'In stock and at most £1.50',
    body: {
      ...common,
      constraint: { set: 'in-stock', filter: 'price <= params.max', params: { max: 1.5 } },
    },
  },
];
console.log(`\nEspalier serves the retail demo on ${server.url} (docs: ${server.url}/docs). Try:\n`);
for (const { note, body } of requests) {
  const command = `curl -s ${server.url}/v1/recommend -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
  console.log(`# ${note}\n${command}`);
  const answer = await client.recommend<Facts>(body);
  for (const { id, attributes: facts } of answer.items) {
    console.log(`#   ${id.padEnd(8)}£${facts.price.toFixed(2).padStart(5)}  ${facts.title}`);
  }
  console.log();
}
console.log('Ctrl-C stops the server.');

interface Facts {
  title: string;
  price: number;
}
