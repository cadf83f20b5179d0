import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EspalierClient } from 'espalier/client';
import { CATALOG, loadRetail, readShoppers } from './retail.js';
import { startServerProcess } from './server-process.js';

/**
 * How good the recommendations are, through the running server: for every shopper of the evaluation split the
 * last item is hidden, and we look where it comes in the answer. `pipeline/evaluate.py` measures the same in
 * PyTorch, and the rivals beside it.
 */
const { values } = parseArgs({ options: { users: { type: 'string' } } });
const DEPTH = 20;

const shoppers = (await readShoppers()).slice(
  0,
  values.users === undefined ? undefined : Number(values.users),
);
const server = await startServerProcess(mkdtempSync(join(tmpdir(), 'espalier-quality-')), 0, [
  '--log-level',
  'warn',
]);
const client = new EspalierClient({ url: server.url });
try {
  await loadRetail(server.url);
  const ranks: number[] = [];
  for (const { historyWithRepeats: history, target } of shoppers) {
    const { items } = await client.recommend({
      catalog: CATALOG,
      history,
      k: DEPTH,
      beamWidth: 50,
      excludeHistory: true,
    });
    const rank = items.findIndex(({ id }) => id === target);
    ranks.push(rank < 0 ? Number.POSITIVE_INFINITY : rank);
  }
  const mean = (gain: (rank: number) => number) =>
    (ranks.reduce((sum, rank) => sum + gain(rank), 0) / ranks.length).toFixed(4);
  for (const k of [5, 10, 20]) {
    const recall = mean((rank) => (rank < k ? 1 : 0));
    const ndcg = mean((rank) => (rank < k ? 1 / Math.log2(rank + 2) : 0));
    console.log(`R@${k} ${recall}  NDCG@${k} ${ndcg}`);
  }
  console.log(`${ranks.length} shoppers`);
} finally {
  await server.stop();
}
