import { spreadOf } from '../../harness/statistics.js';
import type { CaseContext, RivalResult } from '../../harness/types.js';
import type { Sample, Task } from '../../load/generator.js';
import { wrongIn } from '../../load/summary.js';
import type { TransportName } from '../../load/transport.js';
import { fail } from './lone-client.js';
import type { RunningServer } from './running-server.js';

/** What a server under load may answer beside items; anything else is wrong. */
const allowed = ['answer', 'ESP_OVERLOADED', 'ESP_TIMEOUT'];

/** So that a short window is not empty by chance. */
const LEAST_ARRIVALS = 8;

export interface LoadOptions {
  timeoutMs: number;
  seed: number;
  /** By turns of the protocols, so that both get what the machine has to give. */
  windows: number;
  seconds: number;
}

interface Windows {
  name: TransportName;
  /** [windows] */
  samples: Sample[][];
}

/** Clients that ask again as soon as they have their answer. */
export async function timeClosedLoop(
  running: RunningServer,
  names: readonly TransportName[],
  clients: number,
  options: LoadOptions,
  context: CaseContext,
): Promise<RivalResult[]> {
  const load = { clients, seconds: options.seconds };
  const windows = await inTurns(running, names, options, () => load, context);
  return windows.map(({ name, samples }) =>
    resultOf(name, samples.flat(), { 'answers a second': perSecond(samples, options.seconds) }),
  );
}

/** A share of what it can take in a closed loop, arriving as a Poisson process, whatever became of those before. */
export async function timeOpenLoop(
  running: RunningServer,
  names: readonly TransportName[],
  share: number,
  clients: number,
  options: LoadOptions,
  context: CaseContext,
): Promise<RivalResult[]> {
  const saturated = { clients, seconds: options.seconds };
  const most = await inTurns(running, names, { ...options, windows: 1 }, () => saturated, context);
  const rates = new Map(most.map(({ name, samples }) => [name, perSecond(samples, options.seconds)]));
  const loadOf = (name: TransportName) => {
    const ratePerSecond = Math.max(rates.get(name)!.value * share, LEAST_ARRIVALS / options.seconds);
    return { stretches: [{ ratePerSecond, seconds: options.seconds }] };
  };
  const windows = await inTurns(running, names, options, loadOf, context);
  return windows.map(({ name, samples }) => {
    const result = resultOf(name, samples.flat(), { 'most answers a second': rates.get(name)! });
    if (result.spread === undefined) return result;
    result.extras = {
      ...result.extras,
      'p99 to p50': { value: result.spread.p99 / result.spread.p50, unit: 'count' },
      'lag of the generator, p99': {
        value: spreadOf(samples.flat().map(({ lagMs }) => lagMs)).p99,
        unit: 'ms',
      },
    };
    return result;
  });
}

async function inTurns(
  running: RunningServer,
  names: readonly TransportName[],
  { timeoutMs, seed, windows }: LoadOptions,
  loadOf: (name: TransportName) => Task['load'],
  { signal, say }: CaseContext,
): Promise<Windows[]> {
  const found = names.map((name): Windows => ({ name, samples: [] }));
  for (let window = 0; window < windows; window++) {
    for (const { name, samples } of found) {
      signal.throwIfAborted();
      say(`window ${window + 1} of ${windows}, ${name}`);
      const task = { transport: name, url: running.addressOf(name), timeoutMs, isPlain: false };
      // Other shoppers each time: the server keeps what the model made of the last ones' histories.
      const asked = seed + window * names.length + names.indexOf(name);
      samples.push(await running.generator.run({ ...task, seed: asked, load: loadOf(name) }));
    }
  }
  return found;
}

export function resultOf(
  name: string,
  samples: readonly Sample[],
  extras: NonNullable<RivalResult['extras']>,
): RivalResult {
  const answers = samples.filter(({ outcome }) => outcome === 'answer');
  const refused = samples.length - answers.length;
  const result: RivalResult = {
    name,
    kind: 'ours',
    status: 'timed',
    extras: { ...extras, refused: { value: refused / Math.max(1, samples.length), unit: 'share' } },
  };
  const wrong = wrongIn(samples, allowed);
  if (wrong.length > 0) fail(result, wrong);
  else if (answers.length === 0) Object.assign(result, { status: 'failed', reason: 'there was no answer' });
  else Object.assign(result, { unit: 'ms', spread: spreadOf(answers.map(({ latencyMs }) => latencyMs)) });
  return result;
}

/**
 * Answers a second, of those that came when all clients were at it: neither while the first were on their way, nor
 * after the last was asked for.
 */
export function perSecond(windows: readonly (readonly Sample[])[], seconds: number) {
  const [fromMs, toMs] = [(seconds * 1000) / 5, seconds * 1000];
  const answers = windows.flat().filter(({ outcome, intendedMs, latencyMs }) => {
    const atMs = intendedMs + latencyMs;
    return outcome === 'answer' && atMs >= fromMs && atMs < toMs;
  });
  const value = (answers.length * 1000) / ((toMs - fromMs) * windows.length);
  return { value, unit: 'per second' as const };
}
