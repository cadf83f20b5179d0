import {
  closeSync,
  cpSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { call, jobEnd, loadRetail, modelsDir, readShoppers } from '../examples/online-retail/retail.js';
import { startServerProcess } from '../examples/online-retail/server-process.js';
import { Load, type WindowStats } from './changes/load.js';
import { summary } from './changes/summary.js';
import { quantile } from './harness/statistics.js';
import { keepResult } from './report/keep.js';
import { codebookSizes, itemStream, model, packedItems, schema } from './suites/upload/items.js';

/**
 * What changes of state cost, in a running server: uploads, activations, rules, removals. Beside them a client asks the
 * retail catalog for recommendations, one after the other, so that it is seen what a change costs those who only
 * read. Prints a table; `--out` writes it as JSON. 20 million items need about 8 GB of memory.
 */
const { values } = parseArgs({
  options: {
    items: { type: 'string', default: '20000000' },
    'upload-items': { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '5' },
    out: { type: 'string' },
  },
});
const itemCount = Number(values.items);
const uploadCount = Number(values['upload-items']);
const rounds = Number(values.rounds);
const MORE_CHANGES = 2_000;

const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
const models = join(folder, 'models');
cpSync(modelsDir, models, { recursive: true });
cpSync(new URL('changes/models', import.meta.url), models, { recursive: true });
const server = await startServerProcess(join(folder, 'data'), 0, [
  '--models-dir',
  models,
  '--log-level',
  'warn',
  '--upload-limit-bytes',
  '100000000000',
]);
const { url } = server;
// Few enough that every window has each of them several times: histories differ in what they cost.
const load = new Load(url, (await readShoppers()).slice(0, 100));
try {
  await loadRetail(url);
  for (const name of ['upload', 'big']) {
    await call(`${url}/v1/catalogs/${name}`, 'PUT', {
      model,
      sid: { codebookSizes },
      attributes: schema,
    });
  }
  const packed = packedItems(uploadCount);
  console.error(`${uploadCount} items: ${(packed.length / 1e6).toFixed(0)} MB packed`);
  await upload('upload', packed);
  await load.window(3_000);

  const uploads: number[] = [];
  const idle: WindowStats[] = [];
  const building: WindowStats[] = [];
  for (let round = 0; round < rounds; round++) {
    console.error(`round ${round + 1} of ${rounds}: an upload alone, then one beside requests`);
    uploads.push(await timed(() => upload('upload', packed)));
    idle.push(await load.window(8_000));
    building.push(await load.during(upload('upload', packed)));
  }

  console.error(`uploading ${itemCount} items …`);
  const memory = watchMemory();
  const bigMs = await timed(() => upload('big', itemStream(itemCount)));
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const peakBytes = memory.stop();
  const afterBytes = residentBytes();

  const plain = await activate();

  const rules: number[] = [];
  for (let index = 0; index < 30; index++) {
    const rule = { rule: `price < ${index + 1}.5 && category in ["c1", "c2", "c${index + 3}"]` };
    rules.push(await timed(() => call(`${url}/v1/catalogs/big/constraint-sets/rule-${index}`, 'PUT', rule)));
  }
  const patch = (changes: object) => call(`${url}/v1/catalogs/big/items`, 'PATCH', changes);
  const removals: number[] = [];
  const updates: number[] = [];
  const bareWrites: number[] = [];
  const bareLog = openSync(join(folder, 'bare.log'), 'a');
  for (let index = 0; index < 100; index++) {
    removals.push(await timed(() => patch({ remove: [`item-${index * 7}`] })));
    updates.push(await timed(() => patch({ update: [{ id: `item-${index * 7 + 1}`, price: index }] })));
    bareWrites.push(await timed(async () => writeLine(bareLog)));
  }
  closeSync(bareLog);
  for (let index = 0; index < MORE_CHANGES; index++) {
    await patch({ update: [{ id: `item-${index * 11 + 1}`, price: index % 40 }] });
  }
  const changed = await activate();

  const result = {
    what: `uploads of ${uploadCount} items (NDJSON, gzip, 5 attributes), then a catalog of ${itemCount}`,
    machine: { cpu: cpus()[0].model, cores: cpus().length, node: process.version },
    'upload to active, ms': summary(uploads),
    'recommend p99 while building / idle': summary(building.map(({ p99 }, round) => p99 / idle[round].p99)),
    'recommend p99 while building / idle, all rounds together': p99Of(building) / p99Of(idle),
    'recommend p99, idle, ms': summary(idle.map(({ p99 }) => p99)),
    'recommend p99, while building, ms': summary(building.map(({ p99 }) => p99)),
    [`upload of ${itemCount} to active, ms`]: bigMs,
    'memory: peak of that upload over what stays, MB': (peakBytes - afterBytes) / 1e6,
    [`activation of ${itemCount}, ms`]: summary(plain.times),
    'longest wait of a request beside its decode, while activating, ms': summary(plain.waits),
    'the same in as long a time, idle, ms': summary(plain.idleWaits),
    [`PUT of a rule over ${itemCount} to active, ms`]: summary(rules),
    [`removal of one of ${itemCount}, with 30 sets, ms`]: summary(removals),
    [`update of one price of ${itemCount}, with 30 sets that read it, ms`]: summary(updates),
    'a line written to the same disk and synced, ms': summary(bareWrites),
    [`activation of ${itemCount}, with 30 sets and ${MORE_CHANGES + 200} changes, ms`]: summary(
      changed.times,
    ),
    'longest wait of a request beside its decode, while activating that, ms': summary(changed.waits),
    'the same in as long a time, idle, after it, ms': summary(changed.idleWaits),
  };
  console.log(JSON.stringify(result, null, 2));
  if (values.out !== undefined) keepResult(values.out, result);
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** Activates the large catalog beside requests, and then lets as much time pass with nothing but requests. */
async function activate(): Promise<{ times: number[]; waits: number[]; idleWaits: number[] }> {
  const times: number[] = [];
  const waits: number[] = [];
  const idleWaits: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const activation = timed(() => call(`${url}/v1/catalogs/big/versions/1/activate`, 'POST'));
    waits.push((await load.during(activation)).maxWait);
    times.push(await activation);
    idleWaits.push((await load.window(times.at(-1)!)).maxWait);
  }
  return { times, waits, idleWaits };
}

async function timed(task: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await task();
  return performance.now() - startMs;
}

/** What every change does to its log, and what it cannot be faster than. */
function writeLine(file: number): void {
  writeSync(file, `${'x'.repeat(100)}\n`);
  fsyncSync(file);
}

function p99Of(windows: readonly WindowStats[]): number {
  return quantile(
    windows.flatMap(({ times }) => times),
    0.99,
  );
}

/** Sends items and waits until they are active. */
async function upload(catalog: string, body: Uint8Array | ReadableStream<Uint8Array>): Promise<void> {
  const response = await fetch(`${url}/v1/catalogs/${catalog}/versions?activate=true`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' },
    body,
    duplex: 'half',
  } as RequestInit);
  const { job } = (await response.json()) as { job: { id: string } };
  await jobEnd(url, job.id);
}

/** Of the server and of the build process beside it. */
function residentBytes(): number {
  const { pid } = server.process;
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean),
  );
  return [String(pid), ...children].reduce((sum, id) => {
    const resident = /VmRSS:\s+(\d+)/.exec(read(`/proc/${id}/status`))?.[1] ?? '0';
    return sum + Number(resident) * 1024;
  }, 0);
}

/** A process may end meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function watchMemory(): { stop: () => number } {
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, residentBytes());
  }, 50);
  return {
    stop: () => {
      clearInterval(timer);
      return peak;
    },
  };
}
