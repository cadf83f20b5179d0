import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { DecodedBatch, Recheck, RecommendAnswer } from '../../src/decoder/index.js';
import { cudaOff } from '../../src/kernels/index.js';
import { workKinds } from '../../src/server/jobs/work-kinds.js';
import { KernelFacts } from '../../src/server/kernel-facts.js';
import { type CatalogFacts, Metrics, type SetFreshness } from '../../src/server/metrics/index.js';

function newMetrics(
  sets: () => SetFreshness[] = () => [],
  catalogs: () => CatalogFacts[] = () => [],
  isRedisThere?: () => boolean,
) {
  const metrics = new Metrics({
    kernel: new KernelFacts({ name: 'js', stepName: 'js' }, cudaOff('in a test'), () => []),
    decoding: () => ({ queueLength: 3, engineCount: 2 }),
    sets,
    catalogs,
    isRedisThere,
  });
  /** Series of one metric, as they are exported. */
  const read = async (name: string) => {
    const text = await metrics.registry.metrics();
    return Object.fromEntries(
      text
        .split('\n')
        .filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length]))
        .map((line) => [line.slice(name.length, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
    );
  };
  return { metrics, read };
}

const recheck = (fields: Partial<Recheck>): Recheck => ({
  requestId: 'r',
  catalog: 'small',
  versions: { catalog: 1, model: 1 },
  set: undefined,
  items: 10,
  isPartial: false,
  violations: [],
  ...fields,
});

describe('metrics', () => {
  it('rise with the steps, the fan-out and the fill of each batch', async () => {
    const { metrics, read } = newMetrics();
    const report = {
      prefillHits: 1,
      prefillMs: [5],
      modelStepMs: [2, 3],
      constraintStepMs: [0.001, 0.02, 0.03],
      liveChildren: [1, 1, 300],
      deadBeams: 2,
    };
    const reply = { results: [], report, prefillCacheBytes: 0, durationMs: 10 };
    metrics.recordBatch({ requests: 2, rows: 100, fill: 0.25, reply } satisfies DecodedBatch);
    expect(await read('espalier_decode_prefill_seconds_sum')).toEqual({ '': 0.005 });
    expect(await read('espalier_decode_model_step_seconds_count')).toEqual({ '': 2 });
    const steps = await read('espalier_decode_constraint_step_seconds_bucket');
    expect([steps['{le="0.000001"}'], steps['{le="0.00002"}'], steps['{le="+Inf"}']]).toEqual([1, 2, 3]);
    const fanOut = await read('espalier_decode_live_children_bucket');
    expect([fanOut['{le="1"}'], fanOut['{le="256"}'], fanOut['{le="512"}']]).toEqual([2, 2, 3]);
    expect(await read('espalier_decode_batch_fill_ratio_sum')).toEqual({ '': 0.25 });
    expect(await read('espalier_decode_dead_beams_total')).toEqual({ '': 2 });
    expect(await read('espalier_prefill_hits_total')).toEqual({ '': 1 });
  });

  it('tell answers that were looked at again apart, and count what was wrong', async () => {
    const { metrics, read } = newMetrics();
    const before = await read('espalier_recommend_violations_total');
    expect(before['{kind="set"}']).toBe(0);
    metrics.recordRecheck(recheck({}));
    metrics.recordRecheck(recheck({ isPartial: true }));
    metrics.recordRecheck(recheck({ isPartial: true, failure: 'it broke' }));
    metrics.recordRecheck(recheck({ violations: ['a', 'b'].map((id) => ({ id, kind: 'set' as const })) }));
    expect(await read('espalier_recommend_rechecks_total')).toEqual({
      '{outcome="passed"}': 1,
      '{outcome="partial"}': 1,
      '{outcome="failed"}': 1,
      '{outcome="violated"}': 1,
    });
    expect((await read('espalier_recommend_violations_total'))['{kind="set"}']).toBe(2);
  });

  it('have no label that callers make up', async () => {
    const { metrics, read } = newMetrics();
    metrics.recordRequest({ method: 'BREW', route: undefined, status: 404 }, 1);
    metrics.recordRequest({ method: 'GET', route: '/v1/jobs/:id', status: 200 }, 1);
    expect(Object.keys(await read('espalier_http_request_duration_seconds_count'))).toEqual([
      '{method="other",route="other",status="404"}',
      '{method="GET",route="/v1/jobs/:id",status="200"}',
    ]);
  });

  it('ask once a scrape what there is, and forget catalogs that are gone', async () => {
    let asked = 0;
    let facts: CatalogFacts[] = [
      { catalog: 'a', version: 2, items: 10, leaves: 9, bytes: 4096, ageSeconds: 60 },
    ];
    const { read } = newMetrics(undefined, () => {
      asked++;
      return facts;
    });
    expect(await read('espalier_catalog_items')).toEqual({ '{catalog="a"}': 10 });
    expect(asked).toBe(1);
    await nextTurn();
    expect(await read('espalier_catalog_bytes')).toEqual({ '{catalog="a"}': 4096 });
    expect(asked).toBe(2);
    await nextTurn();
    facts = [];
    expect(await read('espalier_catalog_items')).toEqual({});
  });

  it('have every kind and end of jobs from the start, so that the first failure is a rise', async () => {
    const { metrics, read } = newMetrics();
    const series = Object.keys(workKinds).flatMap((kind) =>
      ['succeeded', 'failed', 'cancelled'].map((state) => `{kind="${kind}",state="${state}"}`),
    );
    expect(await read('espalier_job_duration_seconds_count')).toEqual(
      Object.fromEntries(series.map((one) => [one, 0])),
    );
    metrics.jobDuration.observe({ kind: 'catalog-build', state: 'failed' }, 1);
    const counts = await read('espalier_job_duration_seconds_count');
    expect(counts['{kind="catalog-build",state="failed"}']).toBe(1);
    expect(Object.keys(counts)).toHaveLength(series.length);
  });

  it('say whether Redis answers, where there is one', async () => {
    let isThere = true;
    const { read } = newMetrics(undefined, undefined, () => isThere);
    expect(await read('espalier_redis_up')).toEqual({ '': 1 });
    isThere = false;
    expect(await read('espalier_redis_up')).toEqual({ '': 0 });
    expect(await newMetrics().read('espalier_redis_up')).toEqual({});
  });

  it('show how late the event loop is, and nothing of its own timer', async () => {
    const { read } = newMetrics();
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const startMs = performance.now(); performance.now() - startMs < 60; );
    await new Promise((resolve) => setTimeout(resolve, 20));
    const delays = await read('espalier_event_loop_delay_seconds');
    expect(Object.keys(delays)).toEqual(['{quantile="0.5"}', '{quantile="0.99"}', '{quantile="1"}']);
    expect(delays['{quantile="1"}']).toBeGreaterThan(0.03);
    expect(delays['{quantile="0.5"}']).toBeLessThan(delays['{quantile="1"}']);
  });

  it('count shortfalls by code', async () => {
    const { metrics, read } = newMetrics();
    const timings = { queueMs: 0, prefillMs: 0, modelMs: 1, constraintMs: 1, totalMs: 2 };
    const shortfall = { code: 'ESP_SHORTFALL_BEAM', message: '' };
    metrics.recordAnswer({ timings, shortfall } as RecommendAnswer);
    const found = await read('espalier_recommend_shortfalls_total');
    expect(found['{code="ESP_SHORTFALL_BEAM"}']).toBe(1);
    expect(found['{code="ESP_SHORTFALL_DIVERSITY"}']).toBe(0);
  });
});
