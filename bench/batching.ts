import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  EngineClient,
  monotonicMs,
  type RecommendAnswer,
  type RecommendQuery,
} from '../dist/decoder/index.js';
import { modelsDir, readShoppers } from '../examples/online-retail/retail.js';
import { buildRetailCatalog } from '../test/helpers/retail.js';
import { intervalOfMedian, median } from './harness/statistics.js';
import type { Estimate } from './harness/types.js';
import { keepResult } from './report/keep.js';

/**
 * What decoding together gains: sixteen clients, each of which asks again as soon as it has its answer, against
 * engines that decode every request alone. Both answer the same requests by turns, and give the same items.
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'retail-shared-context' },
    clients: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '12' },
    'round-ms': { type: 'string', default: '700' },
    beams: { type: 'string', default: '1,4,10,50' },
    engines: { type: 'string', default: '1' },
    'wait-ms': { type: 'string', default: '2' },
    'cached-histories': { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});
const clientCount = Number(values.clients);
const rounds = Number(values.rounds);
const roundMs = Number(values['round-ms']);
const CACHE_BYTES = values['cached-histories'] ? 2 ** 30 : 0;

interface Round {
  requests: number;
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  requestsPerBatch: number;
}

const shoppers = await readShoppers();
const { path } = await buildRetailCatalog();
const batched = await startClient(65_536);
const alone = await startClient(1);
const results: Record<string, unknown>[] = [];
for (const beamWidth of values.beams.split(',').map(Number)) {
  await verify(beamWidth);
  results.push({ beamWidth, ...(await compare(beamWidth)) });
}
await Promise.all([batched.client.close(), alone.client.close()]);
if (values.out !== undefined) {
  const machine = `${cpus().length} x ${cpus()[0].model}`;
  const head = { machine, node: process.version, ...values, out: undefined };
  keepResult(values.out, { ...head, results });
}

async function compare(beamWidth: number) {
  const ratios: number[] = [];
  const of = { together: [] as Round[], alone: [] as Round[] };
  for (let round = -1; round < rounds; round++) {
    const together = await run(batched, beamWidth);
    const single = await run(alone, beamWidth);
    // The first one warms up.
    if (round < 0) continue;
    of.together.push(together);
    of.alone.push(single);
    ratios.push(together.perSecond / single.perSecond);
  }
  const ratio = intervalOfMedian(ratios);
  const summary = { together: medians(of.together), alone: medians(of.alone), ratio };
  console.log(
    `beam ${beamWidth}: ${shown(summary.together)} together, ${shown(summary.alone)} alone: ${shownRatio(ratio)}x`,
  );
  return summary;
}

/** The same requests, answered together and alone, must have the same items. */
async function verify(beamWidth: number): Promise<void> {
  const indices = Array.from({ length: clientCount * 2 }, (_, index) => index);
  const ask = ({ client }: Running) =>
    Promise.all(indices.map((index) => client.recommend(toQuery(index, beamWidth))));
  const [left, right] = [await ask(batched), await ask(alone)];
  const ids = ({ items }: RecommendAnswer) => items.map(({ id }) => id).join();
  // Items whose scores differ by less than rounding may swap.
  const differing = indices.filter((index) => ids(left[index]) !== ids(right[index]));
  for (const index of differing) {
    left[index].items.forEach(({ score }, rank) => {
      const difference = Math.abs(score - right[index].items[rank].score);
      if (!(difference < 1e-4))
        throw new Error(`beam ${beamWidth}: request ${index} differs by ${difference}`);
    });
  }
}

interface Running {
  client: EngineClient;
  batches: { requests: number }[];
  next: number;
}

async function startClient(maxBatchRows: number): Promise<Running> {
  const batches: { requests: number }[] = [];
  const client = new EngineClient({
    isolation: 'thread',
    engineCount: Number(values.engines),
    threads: 1,
    stepThreads: 1,
    prefillCacheBytes: CACHE_BYTES,
    queueLimit: 10_000,
    maxBatchRows,
    maxBatchWaitMs: Number(values['wait-ms']),
    hangTimeoutMs: 60_000,
    modelOpenTimeoutMs: 60_000,
    onFailure: (error) => {
      throw error;
    },
    onBatch: (batch) => batches.push(batch),
  });
  const folder = join(modelsDir, values.model, '1');
  const model = { name: values.model, version: 1, folder };
  await client.prepareCatalog({ catalog: 'retail', version: 1, path, model, sets: [], changes: null });
  await client.commitCatalog('retail');
  return { client, batches, next: 0 };
}

/** Clients that ask again as soon as they have their answer, for a while. */
async function run(running: Running, beamWidth: number): Promise<Round> {
  running.batches.length = 0;
  const latencies: number[] = [];
  const startMs = performance.now();
  const clients = Array.from({ length: clientCount }, async () => {
    while (performance.now() - startMs < roundMs) {
      const askedMs = performance.now();
      await running.client.recommend(toQuery(running.next++, beamWidth));
      latencies.push(performance.now() - askedMs);
    }
  });
  await Promise.all(clients);
  const elapsedMs = performance.now() - startMs;
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    requests: latencies.length,
    perSecond: (latencies.length * 1000) / elapsedMs,
    p50Ms: sorted[Math.floor(sorted.length * 0.5)],
    p99Ms: sorted[Math.floor(sorted.length * 0.99)],
    requestsPerBatch: latencies.length / running.batches.length,
  };
}

function toQuery(index: number, beamWidth: number): RecommendQuery {
  const enqueuedAtMs = monotonicMs();
  return {
    requestId: `${index}`,
    catalog: 'retail',
    history: shoppers[index % (values['cached-histories'] ? 64 : shoppers.length)].historyWithRepeats,
    k: Math.min(10, beamWidth),
    beamWidth,
    constraint: {},
    excludeHistory: false,
    normalize: 'vocabulary',
    temperature: 1,
    attributes: [],
    enqueuedAtMs,
    deadlineAtMs: enqueuedAtMs + 60_000,
  };
}

function medians(all: readonly Round[]): Round {
  const of = (name: keyof Round) => median(all.map((round) => round[name]));
  return {
    requests: of('requests'),
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    requestsPerBatch: of('requestsPerBatch'),
  };
}

function shown({ perSecond, p50Ms, p99Ms, requestsPerBatch }: Round): string {
  const size = requestsPerBatch.toFixed(1);
  return `${perSecond.toFixed(0)}/s (p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, ${size} a batch)`;
}

function shownRatio({ median: middle, low, high }: Estimate): string {
  if (low === undefined || high === undefined) return middle.toFixed(2);
  return `${middle.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
