import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadRetail } from '../examples/online-retail/retail.js';
import { startServerProcess } from '../examples/online-retail/server-process.js';
import { describeMachine } from './harness/machine.js';
import { median } from './harness/statistics.js';
import type { Sample, Task } from './load/generator.js';
import { chooseCores, cpuMsOf, Generator, MemoryWatch, pin } from './load/processes.js';
import { memoryGrowth, outcomesOf, recoverySeconds, spreadOf, wrongIn } from './load/summary.js';
import type { TransportName } from './load/transport.js';
import { keepResult } from './report/keep.js';

/**
 * The server on the retail demo under load that does not wait for it: arrivals are Poisson, and latency counts from
 * when a request was to be sent. What it can take is measured first; then it gets 70 % of that, and then 300 %. Every
 * answer is checked. The generator has a core of its own.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    clients: { type: 'string', default: '32' },
    'timeout-ms': { type: 'string', default: '1000' },
    transports: { type: 'string', default: 'http' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
});
const seconds = Number(values.seconds);
const timeoutMs = Number(values['timeout-ms']);
const seed = Number(values.seed);
/** No run repeats another's requests: their histories would be cached, and the protocol that comes second ahead. */
let nextSeed = seed;
const transports = values.transports.split(',') as TransportName[];
/** By turns, where there are several transports; the median of their ratios is the result. */
const WINDOWS = 5;
const STEADY_SHARE = 0.7;
const OVERLOAD_SHARE = 3;
const MEMORY_INTERVAL_MS = 250;

const cores = chooseCores();
const options = ['--log-level', 'fatal', '--grpc-port', '0'];
const server = await startServerProcess(mkdtempSync(join(tmpdir(), 'espalier-load-')), 0, options);
const { pid } = server.process;
const generator = new Generator(cores?.generator);
try {
  if (cores !== undefined) pin(pid!, cores.server);
  await loadRetail(server.url);
  const results: Record<string, unknown> = {};
  const overheads = await loneClients();
  for (const transport of transports) {
    results[transport] = { overhead: overheads[transport], ...(await capacity(transport)) };
  }
  const steady = await steadyLoad(results as Record<string, { perSecond: number }>);
  for (const transport of transports) {
    const measured = results[transport] as { perSecond: number };
    const overloaded = await overload(transport, measured.perSecond);
    results[transport] = { ...measured, steady: steady[transport], overload: overloaded };
  }
  print(results);
  if (values.out !== undefined) {
    const head = {
      what: 'the retail demo under load',
      ...describeMachine(),
      kernel: 'as the server chooses',
      cores,
    };
    const parameters = { seconds, clients: Number(values.clients), timeoutMs, seed };
    keepResult(values.out, { ...head, parameters, results });
  }
} finally {
  generator.close();
  await server.stop();
}

function run(transport: TransportName, task: Partial<Task> & Pick<Task, 'load'>): Promise<Sample[]> {
  const url = transport === 'grpc' ? server.grpcAddress! : server.url;
  return generator.run({ transport, url, seed: nextSeed++, timeoutMs, isPlain: false, ...task });
}

/** One client of each protocol alone, by turns; every answer counts, but for those of the first round. */
async function loneClients() {
  const load = { clients: 1, seconds: seconds / 6 / WINDOWS };
  const taken = Object.fromEntries(transports.map((name) => [name, { samples: [] as Sample[], cpuMs: 0 }]));
  for (let round = 0; round <= WINDOWS; round++) {
    for (const transport of transports) {
      const beforeMs = cpuMsOf(pid!);
      const samples = await run(transport, { load, isPlain: true, timeoutMs: 60_000 });
      fail(wrongIn(samples, ['answer']));
      if (round === 0) continue;
      taken[transport].cpuMs += cpuMsOf(pid!) - beforeMs;
      taken[transport].samples.push(...samples);
    }
  }
  return Object.fromEntries(Object.entries(taken).map(([name, one]) => [name, overheadOf(one)]));
}

/** What a client waits for beside the queue and the model: of the server's own time, and of its own. */
function overheadOf({ samples, cpuMs }: { samples: readonly Sample[]; cpuMs: number }) {
  return {
    cpuMsPerAnswer: cpuMs / samples.length,
    serverMs: spreadOf(samples.map(({ totalMs, queueMs, modelMs }) => totalMs! - queueMs! - modelMs!)),
    clientMs: spreadOf(samples.map(({ latencyMs, queueMs, modelMs }) => latencyMs - queueMs! - modelMs!)),
    constraintMs: spreadOf(samples.map(({ constraintMs }) => constraintMs!)),
    totalMs: spreadOf(samples.map(({ latencyMs }) => latencyMs)),
  };
}

/** Answers a second, where enough clients keep it busy. */
async function capacity(transport: TransportName) {
  const load = { clients: Number(values.clients), seconds: seconds / 6 };
  const samples = await run(transport, { load, timeoutMs: 60_000 });
  fail(wrongIn(samples, ['answer']));
  return { perSecond: samples.length / load.seconds };
}

async function steadyLoad(measured: Record<string, { perSecond: number }>) {
  const windows: Record<string, Sample[][]> = {};
  for (let index = 0; index < WINDOWS; index++) {
    for (const transport of transports) {
      const ratePerSecond = measured[transport].perSecond * STEADY_SHARE;
      const stretches = [{ ratePerSecond, seconds: seconds / WINDOWS }];
      const samples = await run(transport, { load: { stretches } });
      windows[transport] ??= [];
      windows[transport].push(samples);
    }
  }
  return Object.fromEntries(transports.map((transport) => [transport, steadyResult(windows[transport])]));
}

function steadyResult(windows: readonly Sample[][]) {
  const spreads = windows.map((samples) => spreadOf(samples.map(({ latencyMs }) => latencyMs)));
  return {
    outcomes: outcomesOf(windows.flat()),
    wrong: wrongIn(windows.flat(), ['answer']),
    p50Ms: median(spreads.map(({ p50 }) => p50)),
    p99Ms: median(spreads.map(({ p99 }) => p99)),
    p99ToP50: median(spreads.map(({ p50, p99 }) => p99 / p50)),
  };
}

/** Three times what it can take, between two stretches of what it takes easily. */
async function overload(transport: TransportName, perSecond: number) {
  const steady = { ratePerSecond: perSecond * STEADY_SHARE, seconds: seconds / 4 };
  const over = { ratePerSecond: perSecond * OVERLOAD_SHARE, seconds: seconds / 2 };
  const memory = new MemoryWatch(pid!, MEMORY_INTERVAL_MS);
  const samples = await run(transport, { load: { stretches: [steady, over, steady] } });
  memory.close();
  const beginMs = steady.seconds * 1000;
  const endMs = beginMs + over.seconds * 1000;
  const during = samples.filter(({ intendedMs }) => intendedMs >= beginMs && intendedMs < endMs);
  const answers = during.filter(({ outcome }) => outcome === 'answer');
  return {
    outcomes: outcomesOf(during),
    wrong: wrongIn(samples, ['answer', 'ESP_OVERLOADED']),
    late: answers.filter(({ latencyMs }) => latencyMs > timeoutMs).length,
    answersPerSecond: answers.length / over.seconds,
    answerMs: spreadOf(answers.map(({ latencyMs }) => latencyMs)),
    generatorLagMs: spreadOf(during.map(({ lagMs }) => lagMs)),
    refusalMs: spreadOf(
      during.filter(({ outcome }) => outcome === 'ESP_OVERLOADED').map(({ latencyMs }) => latencyMs),
    ),
    memoryGrowth: memoryGrowth(memory.samples, beginMs, endMs),
    recoverySeconds: recoverySeconds(samples, beginMs, endMs),
  };
}

function fail(wrong: readonly string[]): void {
  if (wrong.length > 0) throw new Error(`wrong answers: ${wrong.slice(0, 3).join('; ')}`);
}

// biome-ignore lint/suspicious/noExplicitAny: what is printed is what was measured, whatever its shape.
function print(results: Record<string, any>): void {
  for (const [transport, { overhead: cost, perSecond, steady, overload: over }] of Object.entries(results)) {
    const ms = (value: number) => `${value.toFixed(2)} ms`;
    const rows = [
      ['capacity', `${perSecond.toFixed(0)} a second`],
      ['overhead in the server, p50 (mark: 1 ms)', ms(cost.serverMs.p50)],
      ['  as one client sees it, with the protocol', ms(cost.clientMs.p50)],
      ['  of it in the constraint', ms(cost.constraintMs.p50)],
      ["the server's cores, an answer", ms(cost.cpuMsPerAnswer)],
      ['70 %: p50, p99', `${ms(steady.p50Ms)}, ${ms(steady.p99Ms)}`],
      ['70 %: p99 to p50 (mark: 3)', steady.p99ToP50.toFixed(2)],
      ['70 %: outcomes', JSON.stringify(steady.outcomes)],
      ['70 %: wrong (mark: 0)', steady.wrong.length],
      ['300 %: outcomes', JSON.stringify(over.outcomes)],
      ['300 %: wrong, late (mark: 0)', `${over.wrong.length}, ${over.late}`],
      ['300 %: answers a second', over.answersPerSecond.toFixed(0)],
      ['300 %: answers p50, p99', `${ms(over.answerMs.p50)}, ${ms(over.answerMs.p99)}`],
      ['300 %: refusals p50, p99', `${ms(over.refusalMs.p50)}, ${ms(over.refusalMs.p99)}`],
      ['300 %: lag of the generator, p99', ms(over.generatorLagMs.p99)],
      ['300 %: memory, last third to first', over.memoryGrowth.toFixed(3)],
      ['latency back after (mark: 5 s)', `${over.recoverySeconds} s`],
    ];
    console.log(
      `${transport}\n${rows.map(([name, text]) => `  ${String(name).padEnd(40)} ${text}`).join('\n')}`,
    );
    for (const wrong of [...steady.wrong, ...over.wrong].slice(0, 5)) console.log(`  wrong: ${wrong}`);
  }
}
