import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readShoppers } from '../../examples/online-retail/retail.js';
import { buildRetailCatalog, modelFolder } from '../helpers/retail.js';

const DECODES = 120;

/** Decodes the same few histories on an engine, and says where they begin: what is traced before is of the start. */
const program = (isolation: string, path: string, folder: string, histories: string[][]) => `
  import { engineStarter } from ${JSON.stringify(new URL('../../dist/decoder/engine-port.js', import.meta.url))};
  const options = { threads: 1, stepThreads: 1, prefillCacheBytes: 2 ** 26 };
  const engine = engineStarter('${isolation}', options)((error) => { throw error; });
  const model = { name: 'retail-shared-context', version: 1, folder: ${JSON.stringify(folder)} };
  const activation = { catalog: 'retail', version: 1, path: ${JSON.stringify(path)}, model, sets: [], changes: null };
  await engine.prepareCatalog(activation);
  await engine.commitCatalog('retail');
  const decode = async (history) => {
    const now = performance.timeOrigin + performance.now();
    const { results } = await engine.recommendBatch([{
      requestId: '', catalog: 'retail', history, k: 10, beamWidth: 50, constraint: {},
      excludeHistory: false, normalize: 'vocabulary', temperature: 1, attributes: [], enqueuedAtMs: now, deadlineAtMs: Infinity,
    }]);
    if (results[0].answer?.items.length !== 10) throw new Error(JSON.stringify(results[0]));
  };
  const histories = ${JSON.stringify(histories)};
  for (const history of histories) await decode(history);
  console.log('decoding');
  for (let index = 0; index < ${DECODES}; index++) await decode(histories[index % histories.length]);
  await engine.close();
`;

describe.each(['thread', 'process'] as const)('an engine in a %s', (isolation) => {
  it('frees what the runtime drops in each decode often, and so need not collect its whole heap', async () => {
    const { path } = await buildRetailCatalog();
    const histories = (await readShoppers()).slice(0, 30).map(({ history }) => history);
    const source = program(isolation, path, modelFolder('retail-shared-context'), histories);
    const script = join(mkdtempSync(join(tmpdir(), 'espalier-heap-')), 'decode.mjs');
    writeFileSync(script, source);
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--trace-gc', '--import', 'tsx', script],
      {
        encoding: 'utf8',
        timeout: 60_000,
      },
    );
    expect(status, stderr).toBe(0);
    const traced = stdout.slice(stdout.indexOf('\ndecoding\n'));
    const count = (collection: string) => traced.split(` ${collection} `).length - 1;
    expect(count('Scavenge')).toBeGreaterThan(DECODES / 15);
    expect(count('Mark-Compact')).toBeLessThan(4);
  });
});
