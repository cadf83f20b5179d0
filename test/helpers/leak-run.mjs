// Decodes, and opens models and catalogs anew every so often, in a process of its own: `node --expose-gc leak-run.mjs
// DECODES DECODES_PER_RELOAD CATALOG_FILE MODEL_FOLDER...`. Prints the resident bytes after each reload, as JSON.
import { DecodeEngine } from '../../dist/decoder/engine.js';
import { monotonicMs } from '../../dist/decoder/monotonic-ms.js';

const [decodes, perReload] = process.argv.slice(2, 4).map(Number);
const [path, ...folders] = process.argv.slice(4);
const engine = new DecodeEngine({ threads: 1, stepThreads: 1, prefillCacheBytes: 1 << 22 });
const resident = [];
const items = ['85123A', '22423', '85099B', '20725', '22086'];

for (let decode = 0, reload = 0; decode < decodes; decode += 4) {
  if (decode % perReload === 0) {
    const folder = folders[reload % folders.length];
    await engine.prepareCatalog({
      catalog: 'retail',
      version: ++reload,
      path,
      model: { name: 'retail', version: reload, folder },
      sets: [],
      changes: null,
    });
    engine.commitCatalog('retail');
    // Nothing is pinned: what was active before is closed.
    await engine.releaseModels([]);
    globalThis.gc();
    resident.push(process.memoryUsage.rss());
  }
  const now = monotonicMs();
  const batch = [0, 1, 2, 3].map((index) => ({
    requestId: `r${index}`,
    catalog: 'retail',
    history: [items[index], items[(decode / 4) % items.length]],
    k: 10,
    beamWidth: [4, 10, 20, 10][index],
    constraint: index === 0 ? { filter: `price < ${1 + (decode % 97)}.0` } : {},
    excludeHistory: index % 2 === 0,
    normalize: 'vocabulary',
    temperature: 1,
    attributes: ['title'],
    explain: index === 3,
    enqueuedAtMs: now,
    deadlineAtMs: now + 60_000,
  }));
  const { results } = await engine.recommendBatch(batch);
  if (results.some(({ answer }) => answer?.items.length === 0)) throw new Error('a decode found nothing');
}
console.log(JSON.stringify(resident));
await engine.close();
