import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServerProcess } from '../examples/online-retail/server-process.js';
import { configurationPage } from './docs/configuration.js';
import { type CudaResults, cudaPage } from './docs/cuda.js';
import { httpApiPage, type OpenApi } from './docs/http-api.js';

/**
 * Writes docs/http-api.md and docs/configuration.md, and what docs/cuda.md says was measured:
 * `npx tsx scripts/generate-docs.ts`, after a build. With `--check` it only says whether they are up to date.
 */
const pages = {
  'docs/http-api.md': httpApiPage(await servedDocument()),
  'docs/configuration.md': configurationPage(),
  'docs/cuda.md': cudaPage(readProject('docs/cuda.md') ?? '', cudaResults()),
};

const stale: string[] = [];
for (const [path, page] of Object.entries(pages)) {
  if (!process.argv.includes('--check')) writeFileSync(projectUrl(path), page);
  else if (readProject(path) !== page) stale.push(path);
}
if (stale.length > 0) {
  throw new Error(`out of date: ${stale.join(', ')}: npm run build && npx tsx scripts/generate-docs.ts`);
}

/** As the built server answers it: what is documented is what runs. */
async function servedDocument(): Promise<OpenApi> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-docs-'));
  const server = await startServerProcess(folder, 0, ['--log-level', 'fatal']);
  try {
    return (await (await fetch(`${server.url}/openapi.json`)).json()) as OpenApi;
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function cudaResults(): CudaResults | undefined {
  const text = readProject('bench/results/cuda.json');
  return text === undefined ? undefined : (JSON.parse(text) as CudaResults);
}

function projectUrl(path: string): URL {
  return new URL(`../${path}`, import.meta.url);
}

function readProject(path: string): string | undefined {
  try {
    return readFileSync(projectUrl(path), 'utf8');
  } catch {
    return undefined;
  }
}
