import { setTimeout } from 'node:timers/promises';
import { CATALOG, call, loadRetail, MODEL } from '../../examples/online-retail/retail.js';
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
import { Requests } from '../load/requests.js';
import type { TransportName } from '../load/transport.js';
import { type Client, type Fixed, timeLoneClients, verify } from './serve/lone-client.js';
import { type LoadOptions, timeClosedLoop, timeOpenLoop } from './serve/many-clients.js';
import { RunningServer } from './serve/running-server.js';

const transports: readonly TransportName[] = ['http', 'grpc'];
const K = 10;
const BEAMS = 50;
const TIMEOUT_MS = 5000;
/** Enough to keep the server busy. */
const saturating: Record<Size, number> = { small: 4, quick: 32, full: 32 };
/** Between two looks at the health of the server. */
const PAUSE_MS = 5;

const constraints: Readonly<Record<string, Omit<Fixed, 'beamWidth'>>> = {
  none: { constraint: {}, excludeHistory: false },
  'under-2-pounds': { constraint: { set: 'under-2-pounds' }, excludeHistory: false },
  'new-arrivals': { constraint: { set: 'new-arrivals' }, excludeHistory: false },
  history: { constraint: {}, excludeHistory: true },
  'new-arrivals and history': { constraint: { set: 'new-arrivals' }, excludeHistory: true },
};

const values = {
  constraint: {
    small: ['new-arrivals and history'],
    quick: ['none', 'new-arrivals and history'],
    full: Object.keys(constraints),
  },
  beams: { small: [10], quick: [10], full: [10, 200] },
  clients: { small: [2], quick: [8], full: [2, 8, 32] },
  load: { small: [0.5], quick: [0.7], full: [0.7] },
  health: { small: ['busy'], quick: ['busy'], full: ['idle', 'busy'] },
} as const;

interface Effort {
  checked: number;
  warmUp: number;
  turns: number;
  windows: number;
  windowSeconds: number;
  /** About how long a case of each axis takes. */
  seconds: Record<keyof typeof values, number>;
}

const efforts: Record<Size, Effort> = {
  small: {
    checked: 2,
    warmUp: 0,
    turns: 3,
    windows: 1,
    windowSeconds: 0.4,
    seconds: { constraint: 2, beams: 0.2, clients: 0.8, load: 1.2, health: 0.2 },
  },
  quick: {
    checked: 5,
    warmUp: 5,
    turns: 40,
    windows: 1,
    windowSeconds: 1,
    seconds: { constraint: 2, beams: 1, clients: 2.5, load: 3.8, health: 0.6 },
  },
  full: {
    checked: 20,
    warmUp: 50,
    turns: 250,
    windows: 2,
    windowSeconds: 3,
    seconds: { constraint: 7.5, beams: 8, clients: 12, load: 18, health: 3.5 },
  },
};

let running: Promise<RunningServer> | undefined;

/** Requests to a server in a process of its own, over HTTP and gRPC. */
export const serve: Suite = {
  name: 'serve',
  about:
    'The running server on the retail demo, over HTTP and gRPC: latency, what of it is not the model, throughput.',
  axes: Object.keys(values),
  plan,
  async close() {
    const started = running;
    running = undefined;
    await (await started)?.close();
  },
};

function plan({ size }: RunOptions): PlannedCase[] {
  const planned: PlannedCase[] = [];
  const add = <At extends number | string>(
    axis: keyof typeof values,
    places: readonly At[],
    run: (at: At, server: RunningServer, context: CaseContext) => Promise<RivalResult[]>,
    parametersOf: (at: At) => CaseResult['parameters'],
  ) => {
    for (const at of places) {
      planned.push({
        axis,
        at,
        needsBytes: 700e6,
        seconds: efforts[size].seconds[axis],
        async run(context) {
          const server = await start(context);
          const rivals = await run(at, server, context);
          const parameters = { ...parametersIn(server, context.options), ...parametersOf(at) };
          return { suite: 'serve', axis, at, parameters, rivals };
        },
      });
    }
  };
  const lone = (fixed: Fixed) => (_at: unknown, server: RunningServer, context: CaseContext) =>
    runLoneClients(fixed, server, context);
  for (const at of values.constraint[size]) {
    add('constraint', [at], lone({ ...constraints[at], beamWidth: BEAMS }), () => ({
      clients: 1,
      constraint: at,
    }));
  }
  for (const beamWidth of values.beams[size]) {
    add('beams', [beamWidth], lone({ ...constraints.none, beamWidth }), () => ({
      clients: 1,
      beams: beamWidth,
    }));
  }
  add('clients', values.clients[size], runClosedLoop, (clients) => ({ clients, constraint: 'mixed' }));
  add('load', values.load[size], runOpenLoop, (share) => ({ share, constraint: 'mixed' }));
  add('health', values.health[size], runHealth, () => ({ clients: 1 }));
  return planned;
}

async function start({ say, signal }: CaseContext): Promise<RunningServer> {
  if (running !== undefined) return running;
  say('starting the server');
  const starting = RunningServer.start([], true);
  running = starting.then(async (server) => {
    try {
      await loadRetail(server.url);
      return server;
    } catch (thrown) {
      await server.close();
      throw thrown;
    }
  });
  try {
    const server = await running;
    signal.throwIfAborted();
    return server;
  } catch (thrown) {
    // The next case tries again.
    if (!signal.aborted) running = undefined;
    throw thrown;
  }
}

function parametersIn({ cores }: RunningServer, { seed }: RunOptions): CaseResult['parameters'] {
  const anywhere = 'any';
  return {
    model: MODEL,
    catalog: CATALOG,
    k: K,
    beams: BEAMS,
    constraint: 'none',
    serverCores: cores?.server ?? anywhere,
    generatorCores: cores?.generator ?? anywhere,
    seed,
  };
}

async function runLoneClients(
  fixed: Fixed,
  server: RunningServer,
  context: CaseContext,
): Promise<RivalResult[]> {
  const { size, seed } = context.options;
  const { checked, warmUp, turns } = efforts[size];
  const clients = await Promise.all(
    transports.map(
      async (name, index): Promise<Client> => ({
        name,
        transport: server.transport(name),
        checks: await Requests.read(seed),
        requests: await Requests.read(seed + 1 + index),
      }),
    ),
  );
  return timeLoneClients(clients, { fixed, timeoutMs: 60_000, checked, warmUp, turns }, context);
}

function runClosedLoop(clients: number, server: RunningServer, context: CaseContext): Promise<RivalResult[]> {
  return checkedFirst(server, context, () =>
    timeClosedLoop(server, transports, clients, loadOptions(context), context),
  );
}

function runOpenLoop(share: number, server: RunningServer, context: CaseContext): Promise<RivalResult[]> {
  return checkedFirst(server, context, () =>
    timeOpenLoop(server, transports, share, saturating[context.options.size], loadOptions(context), context),
  );
}

function loadOptions({ options: { size, seed } }: CaseContext): LoadOptions {
  const { windows, windowSeconds } = efforts[size];
  return { timeoutMs: TIMEOUT_MS, seed, windows, seconds: windowSeconds };
}

/** A protocol that answers wrongly is not put under load at all. */
async function checkedFirst(
  server: RunningServer,
  { options: { size, seed }, say }: CaseContext,
  run: () => Promise<RivalResult[]>,
): Promise<RivalResult[]> {
  const hashes = new Map<string, string>();
  for (const name of transports) {
    say(`checking ${name}`);
    const judge = await Requests.read(seed);
    const requests = Array.from({ length: efforts[size].checked }, () => judge.next(TIMEOUT_MS, false));
    const { fault, hash } = await verify(server.transport(name), judge, requests);
    if (fault !== undefined) throw new Error(`${name} failed its check: ${fault}`);
    hashes.set(name, hash!);
  }
  return (await run()).map((result) => ({ ...result, resultHash: hashes.get(result.name)! }));
}

/** Whether the process still answers at once while its engine decodes without a pause. */
async function runHealth(at: string, server: RunningServer, context: CaseContext): Promise<RivalResult[]> {
  const { size, seed } = context.options;
  const { warmUp, turns } = efforts[size];
  const clients = at === 'busy' ? [0, 1] : [];
  let isOver = false;
  let decodes = 0;
  const decode = async (requests: Requests) => {
    const { outcome } = await server.transport('http').send(requests.next(60_000, true));
    if (outcome !== 'answer') throw new Error(`expected an answer, found ${outcome}`);
  };
  const busy = Promise.all(
    clients.map(async (client) => {
      const requests = await Requests.read(seed + client);
      for (; !isOver; decodes++) await decode(requests);
    }),
  );
  const ask = async () => {
    const times: number[] = [];
    for (let turn = -warmUp; !isOver && (turn < turns || decodes < clients.length); turn++) {
      context.signal.throwIfAborted();
      const startMs = performance.now();
      const { status } = await call<{ status: string }>(`${server.url}/healthz`, 'GET');
      if (status !== 'ok') throw new Error(`expected the status ok, found ${status}`);
      if (turn >= 0) times.push(performance.now() - startMs);
      await setTimeout(PAUSE_MS);
    }
    return times;
  };
  try {
    const asked = ask().finally(() => {
      isOver = true;
    });
    const [times] = await Promise.all([asked, busy]);
    const extras = { 'decodes meanwhile': { value: decodes, unit: 'count' as const } };
    return [
      {
        name: 'healthz',
        kind: 'ours',
        status: 'timed',
        unit: 'ms',
        spread: spreadOf(times),
        resultHash: 'ok',
        extras,
      },
    ];
  } finally {
    isOver = true;
  }
}
