import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeReport } from './main.js';

/**
 * Writes what was measured as JSON; where it lies in `bench/results`, the report as well, which is made of all that is
 * there.
 * @param path where to; its folder is made
 */
export function keepResult(path: string, result: object): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const results = fileURLToPath(new URL('../results', import.meta.url));
  if (!relative(results, path).startsWith('..')) writeReport(results, root);
}
