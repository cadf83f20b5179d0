import { afterAll, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { KillClient } from '../helpers/kill/kill-client.js';
import { leftovers } from '../helpers/kill/leftovers.js';
import { KEEP_VERSIONS } from '../helpers/kill/model.js';
import { KINDS } from '../helpers/kill/operations.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';
import { kill, makeDataDir, makeModelsDir, startTestServer, unbatched } from '../helpers/server.js';

const KILLS = process.env.LONG_TESTS ? 200 : 20;
/** Changes between two kills; the last of them, or what comes after it, is hit. */
const MAX_CHANGES = 4;

/** Of the kills, about so many are aimed at a set that refreshes itself, around the moment when it does. */
const REFRESH_SHARE = 0.1;
const REFRESH = 'refresh of a set';
const REFRESH_MS = 1_000;
const REFRESH_SPREAD_MS = 60;

/** A start takes 2 s on two free cores, and several times that beside other tests. */
const MAX_MS_PER_KILL = 15_000;

const models = makeModelsDir();
const dataDir = makeDataDir();
const start = () =>
  startTestServer(dataDir, ['--keep-versions', String(KEEP_VERSIONS), ...unbatched], models);
const hits = new Map<string, number>();

afterAll(() => {
  const lines = [...hits].sort(([, a], [, b]) => b - a).map(([kind, count]) => `  ${count} × ${kind}`);
  console.log(`kill -9 hit, of ${KILLS}:\n${lines.join('\n')}`);
});

it(
  `serves the last acknowledged state after each of ${KILLS} kills, and no half-written one`,
  async () => {
    const random = new Random(seeded('kills', 1).seed as number);
    const client = new KillClient(random);
    let server = await start();
    await client.begin(server);
    for (let index = 0; index < KILLS; index++) {
      const isRefresh = index === 1 || random.chance(REFRESH_SHARE);
      const hit = await (isRefresh ? killAtRefresh : changeUntilKilled)(server, client, random);
      hits.set(hit, (hits.get(hit) ?? 0) + 1);
      server = await start();
      await client.recover(server);
      expect(leftovers(dataDir)).toEqual([]);
    }
    await client.change(server);
    await server.stop();
    expect([...hits.values()].reduce((sum, count) => sum + count)).toBe(KILLS);
    expect(hits.has(REFRESH)).toBe(true);
    // In two hundred kills none of them is left out.
    if (process.env.LONG_TESTS) {
      expect(KINDS.filter((kind) => !hits.has(kind) && !hits.has(`${kind} (its job)`))).toEqual([]);
    }
  },
  KILLS * MAX_MS_PER_KILL,
);

/** Kills the server at a random moment of the last change, or soon after it. @returns what that hit */
async function changeUntilKilled(server: ServerProcess, client: KillClient, random: Random): Promise<string> {
  for (let left = random.below(MAX_CHANGES); left > 0; left--) await client.change(server);
  let killed: Promise<void> | undefined;
  const begin = (durationMs: number) => {
    const afterMs = random.uniform() * durationMs * 1.2;
    killed ??= new Promise((resolve) => setTimeout(resolve, afterMs)).then(() => kill(server));
  };
  try {
    for (;;) await client.change(server, begin);
  } catch (thrown) {
    // What the client sent then has no answer; anything else is a failure of the test.
    if (!server.process.killed || !isConnectionLost(thrown)) throw thrown;
  }
  await killed;
  return client.underWay;
}

async function killAtRefresh(server: ServerProcess, client: KillClient, random: Random): Promise<string> {
  await client.refresh(server);
  const afterMs = REFRESH_MS + (random.uniform() - 0.5) * REFRESH_SPREAD_MS;
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  await kill(server);
  return REFRESH;
}

function isConnectionLost(thrown: unknown): boolean {
  return thrown instanceof TypeError && /fetch failed|terminated/.test(thrown.message);
}
