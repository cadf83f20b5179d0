import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CATALOG, call, loadRetail, readShoppers } from '../examples/online-retail/retail.js';
import { startServerProcess } from '../examples/online-retail/server-process.js';

/**
 * Latency of the running server on the retail model: `/v1/recommend` with one client, then `/healthz` while
 * decodes run back to back. Prints percentiles, and writes them to bench/results/ with `--out`.
 */
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '1000' },
    'warm-up': { type: 'string', default: '100' },
    threads: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
});

interface Answer {
  items: { id: string }[];
  timings: { modelMs: number; constraintMs: number; totalMs: number };
}

const requests = Number(values.requests);
const shoppers = await readShoppers();
const options = ['--log-level', 'warn', '--decode-threads', values.threads];
const server = await startServerProcess(mkdtempSync(join(tmpdir(), 'espalier-bench-')), 0, options);
try {
  await loadRetail(server.url);
  const free = await measureRecommend({});
  const constrained = await measureRecommend({ constraint: { set: 'new-arrivals' }, excludeHistory: true });
  const healthz = await measureHealthz();
  const result = {
    what: 'one client, k 10, beam width 50, retail model',
    machine: { cpu: cpus()[0].model, cores: cpus().length, node: process.version },
    decodeThreads: Number(values.threads),
    'recommend, unconstrained': free,
    'recommend, new-arrivals, history excluded': constrained,
    'healthz while decodes run back to back': healthz,
  };
  console.log(JSON.stringify(result, null, 2));
  if (values.out !== undefined) {
    mkdirSync(new URL('results/', import.meta.url), { recursive: true });
    writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`);
  }
} finally {
  await server.stop();
}

async function measureRecommend(fields: Record<string, unknown>) {
  const wall: number[] = [];
  const model: number[] = [];
  const constraint: number[] = [];
  const overhead: number[] = [];
  const warmUp = Number(values['warm-up']);
  for (let index = 0; index < warmUp + requests; index++) {
    const startMs = performance.now();
    const { items, timings } = await recommend(index, fields);
    const wallMs = performance.now() - startMs;
    if (items.length !== 10) throw new Error(`expected 10 items, found ${items.length}`);
    if (index < warmUp) continue;
    wall.push(wallMs);
    model.push(timings.modelMs);
    constraint.push(timings.constraintMs);
    overhead.push(wallMs - timings.modelMs - timings.constraintMs);
  }
  return {
    wallMs: percentiles(wall),
    modelMs: percentiles(model),
    constraintMs: percentiles(constraint),
    overheadMs: percentiles(overhead),
  };
}

/** Two clients keep the decode worker busy without a pause; a third asks for `/healthz`. */
async function measureHealthz() {
  let running = true;
  let decodes = 0;
  const busy = [0, 1].map(async (client) => {
    for (let index = client; running; index += 2) {
      await recommend(index, {});
      decodes++;
    }
  });
  const latencies: number[] = [];
  while (latencies.length < requests) {
    const startMs = performance.now();
    await call(`${server.url}/healthz`, 'GET');
    latencies.push(performance.now() - startMs);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  running = false;
  await Promise.all(busy);
  return { wallMs: percentiles(latencies), decodesMeanwhile: decodes };
}

function recommend(index: number, fields: Record<string, unknown>): Promise<Answer> {
  const { historyWithRepeats: history } = shoppers[index % shoppers.length];
  return call<Answer>(`${server.url}/v1/recommend`, 'POST', { catalog: CATALOG, history, ...fields });
}

function percentiles(samples: number[]) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) =>
    Number(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(3));
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1), samples: sorted.length };
}
