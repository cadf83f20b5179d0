import { Random } from '../../test/helpers/random.js';
import { Requests } from './requests.js';
import { openTransport, type Transport, type TransportName } from './transport.js';

/** Load at one rate for a while, after another. */
export interface Stretch {
  ratePerSecond: number;
  seconds: number;
}

export interface Task {
  transport: TransportName;
  url: string;
  seed: number;
  timeoutMs: number;
  isPlain: boolean;
  /** Clients that ask again as soon as they have their answer (closed), or a schedule (open). */
  load: { clients: number; seconds: number } | { stretches: Stretch[] };
}

/** One request, in times from the begin of the task. */
export interface Sample {
  /** When it was to be sent, whether the generator could then or not: latency counts from here. */
  intendedMs: number;
  latencyMs: number;
  /** How late the generator itself was: where it is much, the machine had something else to do. */
  lagMs: number;
  /** `answer`, an error's code, or `failure: …` for what no client can handle. */
  outcome: string;
  /** Of an answer that is wrong. */
  fault?: string;
  queueMs?: number;
  modelMs?: number;
  constraintMs?: number;
  totalMs?: number;
}

/** Timers are a millisecond late; nearer to its time a request is waited for awake. */
const AWAKE_MS = 2;

/** The load generator, in a process of its own: what measures must not wait for what is measured. */
async function main(): Promise<void> {
  process.on('message', (task: Task) => {
    void run(task).then((samples) => process.send!(samples));
  });
  process.once('disconnect', () => process.exit());
}

async function run({ transport: name, url, seed, timeoutMs, isPlain, load }: Task): Promise<Sample[]> {
  const transport = openTransport(name, url);
  const ask = asker(transport, await Requests.read(seed), timeoutMs, isPlain);
  const samples = 'clients' in load ? await closed(ask, load) : await open(ask, load.stretches, seed);
  transport.close();
  return samples;
}

type Ask = (beginMs: number, intendedMs: number) => Promise<Sample>;

function asker(transport: Transport, requests: Requests, timeoutMs: number, isPlain: boolean): Ask {
  return async (beginMs, intendedMs) => {
    const request = requests.next(timeoutMs, isPlain);
    const lagMs = performance.now() - beginMs - intendedMs;
    const reply = await transport.send(request);
    const latencyMs = performance.now() - beginMs - intendedMs;
    if (reply.outcome === 'failure')
      return { intendedMs, latencyMs, lagMs, outcome: `failure: ${reply.message}` };
    if (reply.outcome === 'error') {
      const outcome = reply.code === 'ESP_OVERLOADED' && !reply.hasRetryAfter ? 'no Retry-After' : reply.code;
      return { intendedMs, latencyMs, lagMs, outcome };
    }
    const fault = requests.fault(request, reply);
    const { queueMs, modelMs, constraintMs, totalMs } = reply.timings;
    const sample = {
      intendedMs,
      latencyMs,
      lagMs,
      outcome: 'answer',
      queueMs,
      modelMs,
      constraintMs,
      totalMs,
    };
    return fault === undefined ? sample : { ...sample, fault };
  };
}

async function closed(
  ask: Ask,
  { clients, seconds }: { clients: number; seconds: number },
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const beginMs = performance.now();
  const loops = Array.from({ length: clients }, async () => {
    for (;;) {
      const nowMs = performance.now() - beginMs;
      if (nowMs > seconds * 1000) return;
      samples.push(await ask(beginMs, nowMs));
    }
  });
  await Promise.all(loops);
  return samples;
}

/** Poisson arrivals, whatever becomes of the requests before. */
async function open(ask: Ask, stretches: readonly Stretch[], seed: number): Promise<Sample[]> {
  const arrivals = arrivalsOf(stretches, new Random(seed));
  const beginMs = performance.now();
  const asked: Promise<Sample>[] = [];
  for (const intendedMs of arrivals) {
    for (;;) {
      const leftMs = intendedMs - (performance.now() - beginMs);
      if (leftMs <= 0) break;
      if (leftMs > AWAKE_MS) await new Promise((resolve) => setTimeout(resolve, leftMs - AWAKE_MS));
      else await new Promise((resolve) => setImmediate(resolve));
    }
    asked.push(ask(beginMs, intendedMs));
  }
  return Promise.all(asked);
}

function arrivalsOf(stretches: readonly Stretch[], random: Random): number[] {
  const arrivals: number[] = [];
  let beginMs = 0;
  for (const { ratePerSecond, seconds } of stretches) {
    const endMs = beginMs + seconds * 1000;
    for (let atMs = beginMs; ; arrivals.push(atMs)) {
      atMs -= (Math.log(1 - random.uniform()) / ratePerSecond) * 1000;
      if (atMs >= endMs) break;
    }
    beginMs = endMs;
  }
  return arrivals;
}

if (process.send !== undefined) void main();
