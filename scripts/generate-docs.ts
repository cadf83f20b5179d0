import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServerProcess } from '../examples/online-retail/server-process.js';
import { configurationPage } from './docs/configuration.js';
import { httpApiPage, type OpenApi } from './docs/http-api.js';

/**
 * Writes docs/http-api.md and docs/configuration.md: `npx tsx scripts/generate-docs.ts`, after a build. With `--check`
 * it only says whether they are up to date.
 */
const pages = {
  'docs/http-api.md': httpApiPage(await servedDocument()),
  'docs/configuration.md': configurationPage(),
};

const stale: string[] = [];
for (const [path, page] of Object.entries(pages)) {
  const url = new URL(`../${path}`, import.meta.url);
  if (!process.argv.includes('--check')) writeFileSync(url, page);
  else if (read(url) !== page) stale.push(path);
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

function read(url: URL): string | undefined {
  try {
    return readFileSync(url, 'utf8');
  } catch {
    return undefined;
  }
}
