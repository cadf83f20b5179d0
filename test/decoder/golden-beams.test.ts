import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DecodeEngine } from '../../src/decoder/engine.js';
import { query } from '../helpers/query.js';
import { buildRetailCatalog, type GoldenCase, modelFolder, readGoldenBeams } from '../helpers/retail.js';
import { usedParams } from '../helpers/used-params.js';

/** Scores of two runtimes differ in the last digits; items closer than that may swap. */
const TOLERANCE = 2e-4;

describe.each(['retail', 'retail-logits', 'retail-shared-context'])('the beams of model %s', (model) => {
  const engine = new DecodeEngine({ threads: 1, stepThreads: 1, prefillCacheBytes: 1 << 24 });
  const { cases, params, k, beamWidth } = readGoldenBeams();

  beforeAll(async () => {
    const { path } = await buildRetailCatalog();
    await engine.prepareCatalog({
      catalog: 'retail',
      version: 1,
      path,
      model: { name: model, version: 1, folder: modelFolder(model) },
      sets: [],
      changes: null,
    });
    engine.commitCatalog('retail');
  });
  afterAll(() => engine.close());

  it('are those that PyTorch finds, for every history, rule and exclusion', async () => {
    for (const golden of cases) {
      const { allowed, history, excludeHistory } = golden;
      const constraint =
        allowed === null ? {} : { filter: allowed.rule, params: usedParams(allowed.rule, params) };
      const { items } = await engine.recommend(query({ history, excludeHistory, constraint, k, beamWidth }));
      expectSameRanking(items, golden);
    }
    expect(cases.length).toBeGreaterThanOrEqual(20);
  });
});

function expectSameRanking(found: { id: string; score: number }[], golden: GoldenCase): void {
  expect(found).toHaveLength(golden.items.length);
  const goldenIds = golden.items.map(({ id }) => id);
  golden.items.forEach(({ score }, rank) => {
    expect(Math.abs(found[rank].score - score)).toBeLessThan(TOLERANCE);
    const closeIds = goldenIds.filter((_, other) => Math.abs(golden.items[other].score - score) < TOLERANCE);
    if (closeIds.includes(found[rank].id)) return;
    // Only an item that ties with the last place may be one that the golden list just missed.
    expect(score - golden.items.at(-1)!.score).toBeLessThan(TOLERANCE);
    expect(goldenIds).not.toContain(found[rank].id);
  });
}
