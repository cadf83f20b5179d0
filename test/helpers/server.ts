import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServerProcess, startServerProcess } from '../../examples/online-retail/server-process.js';
import { expectDocumented } from './documented-errors.js';
import { endAfterFile } from './leftovers.js';
import { modelsDir } from './retail.js';

/** A models directory with the retail models and the small ones of the tests. */
export function makeModelsDir(): string {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-models-'));
  cpSync(modelsDir, folder, { recursive: true });
  for (const fixtures of ['models', 'engine-models']) {
    cpSync(new URL(`../fixtures/${fixtures}`, import.meta.url).pathname, folder, { recursive: true });
  }
  return folder;
}

export function makeDataDir(): string {
  return mkdtempSync(join(tmpdir(), 'espalier-data-'));
}

/** The built server as a process of its own, on a free port. */
export async function startTestServer(
  dataDir: string,
  options: readonly string[] = [],
  models: string = makeModelsDir(),
): Promise<ServerProcess> {
  const server = await startServerProcess(dataDir, 0, [
    '--models-dir',
    models,
    '--log-level',
    'fatal',
    ...options,
  ]);
  endAfterFile(() => server.stop());
  return server;
}

/** For tests that start many servers: one that decodes every request alone does not measure what batches gain. */
export const unbatched = ['--max-batch-rows', '1'];

/** kill -9: nothing is flushed, nothing is closed. */
export async function kill(server: ServerProcess): Promise<void> {
  const ended = new Promise((resolve) => server.process.once('exit', resolve));
  server.process.kill('SIGKILL');
  await ended;
}

export interface Reply {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes.
  body: any;
}

/** A server that asks for a key: what to send as headers to it. */
export type KeyedServer = ServerProcess & { keyHeaders?: Record<string, string> };

/** Sends JSON (or text as it is) and reads the JSON answer, whatever its status. */
export async function send(
  server: KeyedServer,
  method: string,
  path: string,
  body?: unknown,
  contentType = 'application/json',
  headers: Record<string, string> = {},
): Promise<Reply> {
  const response = await fetch(`${server.url}${path}`, {
    method,
    headers: { ...server.keyHeaders, ...headers, ...(body !== undefined && { 'content-type': contentType }) },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = text === '' ? undefined : JSON.parse(text);
  await expectDocumented(server, method, path, response.status, json);
  return { status: response.status, headers: response.headers, body: json };
}

/** Uploads items and waits for the job. */
export async function upload(
  server: ServerProcess,
  catalog: string,
  items: readonly (object | string)[],
  activate = true,
): Promise<Reply['body']> {
  const lines = items.map((item) => (typeof item === 'string' ? item : JSON.stringify(item))).join('\n');
  const path = `/v1/catalogs/${catalog}/versions?activate=${activate}`;
  const { body } = await send(server, 'POST', path, lines, 'application/x-ndjson');
  return endOf(server, body.job.id);
}

/** The job, when it has ended. */
export async function endOf(server: ServerProcess, id: string): Promise<Reply['body']> {
  for (;;) {
    const { job } = (await send(server, 'GET', `/v1/jobs/${id}`)).body;
    if (job.state !== 'queued' && job.state !== 'running') return job;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
