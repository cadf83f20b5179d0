import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EspalierClient } from 'espalier/client';
import { CATALOG, loadRetail, readShoppers } from './retail.js';
import { startServerProcess } from './server-process.js';

/**
 * What beam widths find, one for each level: the part of a far wider beam's ten best items that narrower beams find,
 * too, and the rows that the model reads for them. Real shoppers, through the running server.
 */
const { values } = parseArgs({ options: { users: { type: 'string', default: '100' } } });
const K = 10;
const REFERENCE_WIDTH = 300;
const widths = [
  [10, 10, 10],
  [20, 20, 20],
  [50, 50, 50],
  [100, 100, 100],
  [10, 20, 50],
  [20, 50, 50],
  [50, 20, 10],
];

const all = await readShoppers();
const every = Math.max(1, Math.floor(all.length / Number(values.users)));
const shoppers = all.filter((_, index) => index % every === 0);
const server = await startServerProcess(mkdtempSync(join(tmpdir(), 'espalier-widths-')), 0, [
  '--log-level',
  'warn',
]);
const client = new EspalierClient({ url: server.url });
try {
  await loadRetail(server.url);
  const found = widths.map(() => 0);
  for (const { history } of shoppers) {
    const best = await idsOf(history, REFERENCE_WIDTH);
    for (const [index, beamWidth] of widths.entries()) {
      const ids = await idsOf(history, beamWidth);
      found[index] += ids.filter((id) => best.includes(id)).length;
    }
  }
  console.table(
    widths.map((beamWidth, index) => ({
      beamWidth: beamWidth.join(', '),
      rows: beamWidth[0] + beamWidth[1],
      found: (found[index] / shoppers.length / K).toFixed(3),
    })),
  );
  console.log(`${shoppers.length} shoppers, no constraint, of the ${K} best by a beam of ${REFERENCE_WIDTH}`);
} finally {
  await server.stop();
}

async function idsOf(history: string[], beamWidth: number | number[]): Promise<string[]> {
  const { items } = await client.recommend({ catalog: CATALOG, history, k: K, beamWidth });
  return items.map(({ id }) => id);
}
