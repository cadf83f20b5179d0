import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { EspalierClient } from 'espalier/client';
import { CATALOG, MODEL, modelsDir } from '../../examples/online-retail/retail.js';
import { Random } from '../../test/helpers/random.js';
import { spreadOf } from '../harness/statistics.js';
import type {
  CaseContext,
  CaseResult,
  PlannedCase,
  RivalResult,
  RunOptions,
  Size,
  Suite,
} from '../harness/types.js';
import type { TransportName } from '../load/transport.js';
import { verify } from './serve/lone-client.js';
import { RunningServer } from './serve/running-server.js';
import { Changes } from './soak/changes.js';
import { faultOf } from './soak/fault.js';
import { Answers, ask } from './soak/readers.js';
import { metricOf, Sampler } from './soak/sampler.js';
import { definition, Shop } from './soak/shop.js';
import { type Outcome, verdictOf } from './soak/verdict.js';

const transports: readonly TransportName[] = ['http', 'grpc'];
const CLIENTS = 2;
/** Of the longest run; a short one is looked at more often. */
const MOST_SAMPLES = 720;
const LEAST_SAMPLE_MS = 250;
const PAUSE_MS: Record<Size, number> = { small: 50, quick: 500, full: 500 };
const CHECKED: Record<Size, number> = { small: 3, quick: 20, full: 20 };
/** Caches that are soon full: one that fills for minutes looks like a leak. */
const PREFILL_CACHE_BYTES = 16_777_216;
const serverOptions = ['--keep-versions', '3', '--prefill-cache-bytes', String(PREFILL_CACHE_BYTES)];
const SMALL_MINUTES = 0.05;

/** Load of all kinds for as long as it is told. */
export const soak: Suite = {
  name: 'soak',
  about:
    'Recommending over HTTP and gRPC beside uploads, activations, small changes and refreshing sets, with every answer checked: what grows, what fails. Needs --minutes.',
  axes: ['minutes'],
  plan,
};

function plan({ size, minutes }: RunOptions): PlannedCase[] {
  const length = minutes ?? (size === 'small' ? SMALL_MINUTES : undefined);
  if (length === undefined) return [];
  return [
    {
      axis: 'minutes',
      at: length,
      needsBytes: 1e9,
      seconds: length * 60 + 5,
      run: (context) => run(length, context),
    },
  ];
}

async function run(minutes: number, context: CaseContext): Promise<CaseResult> {
  const { options, say, signal } = context;
  const { size, seed } = options;
  say('starting the server');
  const running = await RunningServer.start(serverOptions, false);
  try {
    const shop = await Shop.read(seed, Date.now());
    await load(running, shop, seed);
    const hashes = await check(running, shop, options, say);
    const groups = transports.map((_, index) => new Answers(seed + index));
    const { outcome, changes } = await drive(minutes, running, shop, groups, context);
    const parameters = {
      minutes: Number((outcome.seconds / 60).toFixed(3)),
      clients: CLIENTS * transports.length,
      catalog: CATALOG,
      prefillCacheBytes: PREFILL_CACHE_BYTES,
      changesPauseMs: PAUSE_MS[size],
      changes: [...changes.counts.values()].reduce((sum, count) => sum + count, 0),
      seed,
    };
    return {
      suite: 'soak',
      axis: 'minutes',
      at: minutes,
      parameters,
      rivals: transports.map((name, index) => rivalOf(name, groups[index], hashes[index], outcome)),
      series: [...outcome.series],
      verdict: verdictOf(outcome),
      ...(signal.aborted && { isPartial: true }),
    };
  } finally {
    await running.close();
  }
}

/** The catalog, its items, and its sets. */
async function load({ url }: RunningServer, shop: Shop, seed: number): Promise<void> {
  const { catalogs, constraintSets, jobs } = new EspalierClient({ url });
  await catalogs.put(CATALOG, { ...definition, sid: { codebookSizes: codebookSizes() } });
  const items = shop.upload(new Random(seed), Date.now());
  const { job } = await catalogs.upload(CATALOG, items, { isGzip: true, activate: true });
  await jobs.wait(job.id);
  for (const [name, rule] of Object.entries(shop.sets)) await constraintSets.put(CATALOG, name, rule);
}

function codebookSizes(): number[] {
  const manifest = readFileSync(join(modelsDir, MODEL, '1', 'model.json'), 'utf8');
  return (JSON.parse(manifest) as { sid: { codebookSizes: number[] } }).sid.codebookSizes;
}

/** Before anything changes, both protocols give the same right answers. @returns their hashes */
async function check(
  running: RunningServer,
  shop: Shop,
  { size, seed }: RunOptions,
  say: CaseContext['say'],
): Promise<string[]> {
  const judge: Parameters<typeof verify>[1] = {
    fault: (request, reply) => shop.fault(request, reply, Date.now(), Date.now()),
  };
  const random = new Random(seed);
  const drawn = Array.from({ length: CHECKED[size] * 3 }, () => shop.request(random, 10_000));
  // Offers end while this runs.
  const requests = drawn.filter(({ constraint }) => constraint.set !== 'on-offer').slice(0, CHECKED[size]);
  const hashes: string[] = [];
  for (const name of transports) {
    say(`checking ${name}`);
    const { fault, hash } = await verify(running.transport(name), judge, requests);
    if (fault !== undefined) throw new Error(`${name} failed its check: ${fault}`);
    hashes.push(hash!);
  }
  return hashes;
}

/** Readers, changes and samples side by side, until the time is over, the run is interrupted, or the server ends. */
async function drive(
  minutes: number,
  running: RunningServer,
  shop: Shop,
  groups: readonly Answers[],
  { options: { size, seed }, say, signal }: CaseContext,
): Promise<{ outcome: Outcome; changes: Changes }> {
  const { process: child } = running.server;
  const over = new AbortController();
  const sampler = new Sampler(running.url, child.pid!);
  const changes = new Changes(running.url, shop, seed);
  const end = () => over.abort();
  const onInterrupt = () => {
    for (const { errors } of [...groups, changes]) errors.forgiveInterrupt(Date.now());
    end();
  };
  let ended: string | undefined;
  const onExit = (code: number | null, name: string | null) => {
    if (!signal.aborted) ended = `the server ended with ${name ?? `code ${code}`}`;
    end();
  };
  child.once('exit', onExit);
  signal.addEventListener('abort', onInterrupt);
  if (signal.aborted) end();
  await sampler.begin();
  const startMs = performance.now();
  const readers = transports.map((name, index) => {
    const asked = { name, transport: running.transport(name), clients: CLIENTS };
    return ask(asked, shop, groups[index], seed, () => over.signal.aborted);
  });
  const changing = changes.run(PAUSE_MS[size], over.signal);
  const everyMs = Math.max(LEAST_SAMPLE_MS, (minutes * 60_000) / MOST_SAMPLES);
  while (!over.signal.aborted) {
    const leftMs = minutes * 60_000 - (performance.now() - startMs);
    if (leftMs <= 0) break;
    await setTimeout(Math.min(everyMs, leftMs), undefined, { signal: over.signal }).catch(() => {});
    if (over.signal.aborted) break;
    try {
      await sampler.sample(groups, changes.errors.total);
    } catch {
      groups[0].errors.add('failure: no metrics', Date.now());
    }
    say(progressOf((performance.now() - startMs) / 60_000, minutes, groups));
  }
  const seconds = (performance.now() - startMs) / 1000;
  end();
  await Promise.all([...readers, changing]);
  child.off('exit', onExit);
  signal.removeEventListener('abort', onInterrupt);
  const found = ['espalier_recommend_violations_total', 'espalier_decode_dead_beams_total'].map((name) =>
    metricOf(sampler.lastScrape, name),
  );
  const outcome: Outcome = {
    seconds,
    isPartial: signal.aborted,
    answers: Object.fromEntries(transports.map((name, index) => [name, groups[index].answers])),
    changes: changes.counts,
    changeErrors: changes.errors.counts,
    errors: sumOf([...groups, changes].map(({ errors }) => errors.counts)),
    violations: groups.reduce((sum, { violations }) => sum + violations, 0),
    told: groups.flatMap(({ told }) => told),
    foundByServer: found.some((one) => one !== undefined)
      ? found.reduce<number>((sum, one) => sum + (one ?? 0), 0)
      : undefined,
    series: sampler.series,
    ended,
  };
  return { outcome, changes };
}

function rivalOf(name: string, group: Answers, resultHash: string, outcome: Outcome): RivalResult {
  const { answers, short, violations, latenciesMs } = group;
  const { counts, total } = group.errors;
  const extras: NonNullable<RivalResult['extras']> = {
    answers: { value: answers, unit: 'count' },
    'with fewer items than asked for': { value: short, unit: 'count' },
    violations: { value: violations, unit: 'count' },
    errors: { value: total, unit: 'count' },
  };
  for (const [code, count] of counts) extras[`error ${code}`] = { value: count, unit: 'count' };
  const result = { name, kind: 'ours' as const, resultHash, extras };
  const reason = faultOf(group, outcome);
  if (reason !== undefined) return { ...result, status: 'failed', reason };
  return { ...result, status: 'timed', unit: 'ms', spread: spreadOf(latenciesMs) };
}

function sumOf(all: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const one of all) for (const [code, count] of one) sum.set(code, (sum.get(code) ?? 0) + count);
  return sum;
}

function progressOf(spentMinutes: number, minutes: number, groups: readonly Answers[]): string {
  const total = (of: (group: Answers) => number) => groups.reduce((sum, group) => sum + of(group), 0);
  return (
    `${spentMinutes.toFixed(1)} of ${minutes} min: ${total(({ answers }) => answers)} answers, ` +
    `${total(({ errors }) => errors.total)} errors, ${total(({ violations }) => violations)} violations`
  );
}
