import { expect } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { type Reply, send } from './server.js';

const sid = { codebookSizes: [2, 3] };

/** Puts the catalog that the uploads below are for. */
export async function putSmall(server: ServerProcess, name = 'small'): Promise<void> {
  const catalog = { model: 'table', sid, attributes: { price: { type: 'double' } } };
  expect((await send(server, 'PUT', `/v1/catalogs/${name}`, catalog)).status).toBe(201);
}

/** Items whose build takes a second or so for every 300,000. */
export function manyItems(count: number): string {
  return Array.from({ length: count }, (_, index) =>
    JSON.stringify({ id: `item-${index}`, sid: [index % 2, index % 3], price: index }),
  ).join('\n');
}

/** Starts an upload. @returns the answer as it comes */
export async function post(
  server: ServerProcess,
  lines: string,
  { headers = {}, query = '?activate=true', catalog = 'small' } = {},
): Promise<Pick<Reply, 'status' | 'headers' | 'body'>> {
  const response = await fetch(`${server.url}/v1/catalogs/${catalog}/versions${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', ...headers },
    body: lines,
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Asks until it is so. */
export async function until(isTrue: () => Promise<boolean> | boolean, timeoutMs = 30_000): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; !(await isTrue()); ) {
    if (Date.now() > deadline) throw new Error('it never came to that');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
