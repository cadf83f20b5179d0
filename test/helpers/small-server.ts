import { expect } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { type Reply, send, upload } from './server.js';

/** A catalog of six items over the small `table` model, or another of its kind, for tests of what the server keeps. */
export const sid = { codebookSizes: [2, 3] };
export const attributes = { price: { type: 'double' }, colour: { type: 'string' } };
export const items = [0, 1].flatMap((a) =>
  [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b], price: a + b, colour: b === 0 ? 'red' : 'blue' })),
);

export async function makeSmallCatalog(
  server: ServerProcess,
  name = 'small',
  model = 'table',
): Promise<void> {
  const catalog = { model, sid, attributes };
  expect((await send(server, 'PUT', `/v1/catalogs/${name}`, catalog)).status).toBe(201);
  expect((await upload(server, name, items)).state).toBe('succeeded');
}

/** The ids of an answer, sorted. */
export async function idsUnder(
  server: ServerProcess,
  constraint: object = {},
  catalog = 'small',
): Promise<string[]> {
  const { status, body } = await send(server, 'POST', '/v1/recommend', { catalog, history: [], constraint });
  expect(status, JSON.stringify(body)).toBe(200);
  return body.items.map(({ id }: { id: string }) => id).sort();
}

export const SETS = '/v1/catalogs/small/constraint-sets';

export async function putRule(server: ServerProcess, set: string, rule: string, more = {}): Promise<Reply> {
  return send(server, 'PUT', `${SETS}/${set}`, { rule, ...more });
}
