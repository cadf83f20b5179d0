import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { seededRandom } from '../src/cli/bench/random.js';
import { type Model, openModel } from '../src/decoder/model.js';
import { intervalOfMedian, median } from './harness/statistics.js';
import type { Estimate } from './harness/types.js';
import { type DecodeTimes, decode, type Request, randomRequest } from './model/decode.js';
import { keepResult } from './report/keep.js';

/**
 * The retail model under each contract, one thread: a decode at beam 50, then batches of ragged histories against
 * the same requests one by one. Rivals give the same logits before they are timed, and take turns.
 */
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '60' }, out: { type: 'string' } },
});
const rounds = Number(values.rounds);
const TOLERANCE = 1e-3;
const CONTEXT_ITEMS = 20;
const names = ['retail-shared-context', 'retail', 'retail-logits'];
const random = seededRandom(3);
const results: Record<string, unknown>[] = [];

const models = new Map<string, Model>();
for (const name of names) {
  const folder = new URL(`../examples/online-retail/models/${name}/1`, import.meta.url).pathname;
  models.set(name, await openModel(folder, 1));
}
const fastest = models.get(names[0])!;

await compareContracts();
for (const items of [2, CONTEXT_ITEMS]) await comparePrefills(items);
for (const name of names.slice(0, 2)) {
  for (const beamWidth of [1, 4, 50]) {
    for (const requests of [4, 16]) await compareBatch(name, requests, beamWidth);
  }
}
for (const model of models.values()) await model.close();
if (values.out !== undefined) {
  const machine = `${cpus().length} x ${cpus()[0].model}`;
  keepResult(values.out, { machine, threads: 1, rounds, results });
}

/** Prefill and two steps at beam 50 over 20 items of history, by contract. */
async function compareContracts(): Promise<void> {
  const requests = Array.from({ length: 8 }, () => randomRequest(fastest, CONTEXT_ITEMS, 50, random));
  for (const request of requests) await verify([request]);
  const times = new Map<string, DecodeTimes[]>(names.map((name) => [name, []]));
  for (let round = -5; round < rounds; round++) {
    for (const [name, model] of models) {
      const taken = await decode(model, [requests[(round + 8) % 8]]);
      if (round >= 0) times.get(name)!.push(taken);
    }
  }
  const totals = (name: string) => times.get(name)!.map(({ prefillMs, stepsMs }) => prefillMs + stepsMs);
  const steps = (name: string) => times.get(name)!.map(({ stepsMs }) => stepsMs);
  for (const name of names) {
    report({
      what: `decode at beam 50: ${name}`,
      decodeMs: median(totals(name)),
      stepsMs: median(steps(name)),
      decodeRatio: intervalOfMedian(totals(name).map((ms, round) => ms / totals(names[0])[round])),
      stepsRatio: intervalOfMedian(steps(name).map((ms, round) => ms / steps(names[0])[round])),
    });
  }
}

/** Eight histories of equal length read in one run, against one after the other. */
async function comparePrefills(items: number): Promise<void> {
  const histories = Array.from({ length: 8 }, () => randomRequest(fastest, items, 1, random).history);
  const togetherMs: number[] = [];
  const singlesMs: number[] = [];
  for (let round = -2; round < rounds; round++) {
    const start = performance.now();
    await fastest.prefill(histories);
    const middle = performance.now();
    for (const history of histories) await fastest.prefill([history]);
    if (round < 0) continue;
    togetherMs.push(middle - start);
    singlesMs.push(performance.now() - middle);
  }
  report({
    what: `reading 8 histories of ${items} items`,
    togetherMs: median(togetherMs),
    oneByOneMs: median(singlesMs),
    speedup: intervalOfMedian(singlesMs.map((ms, round) => ms / togetherMs[round])),
  });
}

/** Requests with 1 to 20 items of history in one batch, against one after the other. */
async function compareBatch(name: string, count: number, beamWidth: number): Promise<void> {
  const model = models.get(name)!;
  const requests = Array.from({ length: count }, () =>
    randomRequest(model, 1 + Math.floor(random() * CONTEXT_ITEMS), beamWidth, random),
  );
  await verify(requests);
  const batchMs: number[] = [];
  const singlesMs: number[] = [];
  const turns = Math.max(5, Math.ceil(rounds / (count * Math.max(1, beamWidth / 16))));
  for (let round = -2; round < turns; round++) {
    const start = performance.now();
    await decode(model, requests);
    const middle = performance.now();
    for (const request of requests) await decode(model, [request]);
    if (round < 0) continue;
    batchMs.push(middle - start);
    singlesMs.push(performance.now() - middle);
  }
  report({
    what: `${name}: ${count} requests at beam ${beamWidth}`,
    batchMs: median(batchMs),
    oneByOneMs: median(singlesMs),
    speedup: intervalOfMedian(singlesMs.map((ms, round) => ms / batchMs[round])),
  });
}

/** Every contract gives the same logits for a batch. */
async function verify(requests: readonly Request[]): Promise<void> {
  const expected: Float32Array[] = [];
  await decode(fastest, requests, (logits) => expected.push(logits.slice()));
  for (const [name, model] of models) {
    let step = 0;
    await decode(model, requests, (logits) => {
      const other = expected[step++];
      const differs = logits.some((value, index) => !(Math.abs(value - other[index]) <= TOLERANCE));
      if (differs || logits.length !== other.length) throw new Error(`${name} gives other logits`);
    });
  }
}

function report(result: Record<string, unknown>): void {
  results.push(result);
  const shown = Object.entries(result).map(([key, value]) => {
    if (typeof value === 'string') return value.padEnd(46);
    if (typeof value === 'number') return `${key} ${value.toFixed(2)}`;
    const { median: middle, low, high } = value as Estimate;
    const range = low === undefined || high === undefined ? '' : ` [${low.toFixed(2)}, ${high.toFixed(2)}]`;
    return `${key} ${middle.toFixed(2)}${range}`;
  });
  console.log(shown.join('  '));
}
