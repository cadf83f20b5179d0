import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { kill, makeDataDir, makeModelsDir, send, startTestServer } from '../helpers/server.js';
import { idsUnder, makeSmallCatalog, putRule, SETS } from '../helpers/small-server.js';

/** Each set is a file, synced to the disk, so that making many takes a while. */
const IS_LONG = process.env.LONG_TESTS !== undefined;
const COUNT = IS_LONG ? 10_000 : 300;
const AT_A_TIME = 16;
/** For a start and everything else that must not grow with the square of the sets; far above what they take. */
const BOUND_MS = 60_000;

/** A busy machine must not refuse what is asked here. */
const NEVER_SHED = ['--max-event-loop-delay-ms', '0'];

const nameOf = (index: number) => `set-${String(index).padStart(5, '0')}`;
/** Three rules that differ in what they allow, and a constant of its own in each, so that none shares another's bitmaps. */
const RULES = ['colour == "red"', 'colour == "blue"', 'price == 3.0'];
const ALLOWED = [['0-0', '1-0'], ['0-1', '0-2', '1-1', '1-2'], ['1-2']];
const ruleOf = (index: number) => `(${RULES[index % 3]}) && price < ${100 + index}.0`;

async function checkSets(server: ServerProcess): Promise<void> {
  const { constraintSets } = (await send(server, 'GET', SETS)).body;
  expect(constraintSets.map(({ name }: { name: string }) => name)).toEqual(
    Array.from({ length: COUNT }, (_, index) => nameOf(index)),
  );
  expect(constraintSets[COUNT - 1]).toMatchObject({ version: 1, items: ALLOWED[(COUNT - 1) % 3].length });
  for (const index of [0, 1, 2, COUNT >> 1, COUNT - 2, COUNT - 1]) {
    expect((await send(server, 'GET', `${SETS}/${nameOf(index)}`)).body.rule).toBe(ruleOf(index));
    expect(await idsUnder(server, { set: nameOf(index) })).toEqual(ALLOWED[index % 3]);
  }
  const unknown = await putRule(server, 'bad', 'no_such_attribute > 1');
  expect([unknown.status, unknown.body.error.code]).toEqual([400, 'ESP_RULE_NAME']);
  const missing = { catalog: 'small', history: [], constraint: { set: nameOf(COUNT) } };
  const { status, body } = await send(server, 'POST', '/v1/recommend', missing);
  expect([status, body.error.code]).toEqual([404, 'ESP_SET_NOT_FOUND']);
  expect(JSON.stringify(body).length).toBeLessThan(4_096);
}

it(`serves ${COUNT} constraint sets of one catalog, before and after kill -9, and activates under them`, async () => {
  const dataDir = makeDataDir();
  const models = makeModelsDir();
  const first = await startTestServer(dataDir, NEVER_SHED, models);
  await makeSmallCatalog(first);
  const waiting = Array.from({ length: COUNT }, (_, index) => index);
  const put = async () => {
    for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
      expect((await putRule(first, nameOf(index), ruleOf(index))).status).toBe(201);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, put));
  await checkSets(first);
  await kill(first);

  expect(readdirSync(join(dataDir, 'catalogs/small/constraint-sets'))).toHaveLength(COUNT);
  const startedMs = performance.now();
  const second = await startTestServer(dataDir, NEVER_SHED, models);
  expect(performance.now() - startedMs).toBeLessThan(BOUND_MS);
  expect((await send(second, 'GET', '/readyz')).status).toBe(200);
  await checkSets(second);
  expect((await send(second, 'POST', '/v1/catalogs/small/versions/1/activate')).status).toBe(200);
  await checkSets(second);
  await second.stop();
});
