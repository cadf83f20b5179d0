import { createHash } from 'node:crypto';
import { type Contender, runContest, type Verdict } from '../../harness/contest.js';
import { median, quantile } from '../../harness/statistics.js';
import type { CaseContext, RivalResult } from '../../harness/types.js';
import type { Requests } from '../../load/requests.js';
import type { LoadReply, LoadRequest, Timings, Transport } from '../../load/transport.js';

/** What is the same in all requests of a case. */
export type Fixed = Pick<LoadRequest, 'beamWidth' | 'constraint' | 'excludeHistory'>;

export interface ClientOptions {
  fixed: Fixed;
  timeoutMs: number;
  /** How many answers are checked before anything is timed. */
  checked: number;
  warmUp: number;
  turns: number;
}

interface Timed extends Timings {
  clientMs: number;
}

/** Who asks: over which protocol, and for which shoppers. */
export interface Client {
  name: string;
  transport: Transport;
  /** The same for all, for the check: equal requests, equal answers. */
  checks: Requests;
  /** Its own: the server keeps what the model made of a history for whoever asks next. */
  requests: Requests;
}

/** One client that waits for each answer, over every protocol in turns. Every answer is checked. */
export async function timeLoneClients(
  clients: readonly Client[],
  options: ClientOptions,
  { signal, say }: CaseContext,
): Promise<RivalResult[]> {
  const asked = clients.map((client) => contenderOf(client, options));
  const results = await runContest(
    asked.map(({ contender }) => contender),
    {
      unit: 'ms',
      warmUp: options.warmUp,
      turns: options.turns,
      yardsticks: [clients[0].name],
      signal,
      say,
    },
  );
  const wrong = new Set<string>();
  for (const [index, result] of results.entries()) {
    const { timed, faults } = asked[index];
    if (result.status !== 'timed') continue;
    if (faults.length > 0) {
      fail(result, faults);
      wrong.add(result.name);
    } else result.extras = extrasOf(timed);
  }
  for (const { ratioTo } of results) for (const name of wrong) delete ratioTo?.[name];
  return results;
}

/** What was wrong after the check had passed: no time of it counts. */
export function fail(result: RivalResult, faults: readonly string[]): void {
  Object.assign(result, {
    status: 'failed',
    reason: `${faults.length} wrong answers, the first: ${faults[0]}`,
  });
  delete result.unit;
  delete result.spread;
  delete result.ratioTo;
}

function contenderOf({ name, transport, checks, requests }: Client, options: ClientOptions) {
  const timed: Timed[] = [];
  const faults: string[] = [];
  const draw = (from: Requests): LoadRequest => ({ ...from.next(options.timeoutMs, true), ...options.fixed });
  const contender: Contender = {
    name,
    kind: 'ours',
    verify: () =>
      verify(
        transport,
        checks,
        Array.from({ length: options.checked }, () => draw(checks)),
      ),
    async run(turn) {
      const request = draw(requests);
      const startMs = performance.now();
      const reply = await transport.send(request);
      const clientMs = performance.now() - startMs;
      const fault = faultOf(requests, request, reply);
      if (fault !== undefined) faults.push(fault);
      else if (turn >= 0) timed.push({ clientMs, ...(reply as { timings: Timings }).timings });
    },
  };
  return { contender, timed, faults };
}

/** Asks, and looks at every answer. @returns a hash of the items of all answers, in their order */
export async function verify(
  transport: Transport,
  judge: Pick<Requests, 'fault'>,
  requests: readonly LoadRequest[],
): Promise<Verdict> {
  const hash = createHash('sha256');
  for (const [index, request] of requests.entries()) {
    const reply = await transport.send(request);
    const fault = faultOf(judge, request, reply);
    if (fault !== undefined) return { fault: `request ${index}: ${fault}` };
    hash.update(`${(reply as { items: { id: string }[] }).items.map(({ id }) => id).join(' ')}\n`);
  }
  return { hash: hash.digest('hex').slice(0, 16) };
}

function faultOf(judge: Pick<Requests, 'fault'>, request: LoadRequest, reply: LoadReply): string | undefined {
  if (reply.outcome === 'error') return `expected an answer, found ${reply.code}`;
  if (reply.outcome === 'failure') return `expected an answer, found ${reply.message}`;
  return judge.fault(request, reply);
}

/** Where the time goes, beside what the client waits for in all. */
function extrasOf(timed: readonly Timed[]): NonNullable<RivalResult['extras']> {
  const server = timed.map(({ totalMs, queueMs, modelMs }) => totalMs - queueMs - modelMs);
  const client = timed.map(({ clientMs, queueMs, modelMs }) => clientMs - queueMs - modelMs);
  const of = (name: keyof Timed) => ({ value: median(timed.map((one) => one[name])), unit: 'ms' as const });
  return {
    'overhead in the server': { value: median(server), unit: 'ms' },
    'overhead in the server, p99': { value: quantile(server, 0.99), unit: 'ms' },
    'overhead as the client sees it': { value: median(client), unit: 'ms' },
    'overhead as the client sees it, p99': { value: quantile(client, 0.99), unit: 'ms' },
    queue: of('queueMs'),
    model: of('modelMs'),
    constraint: of('constraintMs'),
    'constraint share': {
      value: median(timed.map(({ constraintMs, clientMs }) => constraintMs / clientMs)),
      unit: 'share',
    },
  };
}
