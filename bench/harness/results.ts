import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../../src/static-trie/durable-file.js';
import { checkReport } from './report-schema.js';
import type { SuiteReport } from './types.js';

/** Of what a run has left that has not ended, or was interrupted. */
export const PARTIAL = '.partial.json';

/**
 * Writes a report as `<folder>/<suite>.json`, or as `<suite>.partial.json` while it is incomplete, so that a run that
 * is interrupted leaves the last complete one as it is. Whoever reads either file finds the one before or this one,
 * whole. A complete report takes the partial one away.
 * @returns the path
 * @throws Error where it is not what its readers expect; EspalierError ESP_WRITE_FAILED where the system refuses, such
 * as a full disk. What was there stays
 */
export function writeReport(folder: string, report: SuiteReport): string {
  // As it will be read: NaN and infinity have become null by then.
  const text = `${JSON.stringify(report, null, 2)}\n`;
  checkReport(JSON.parse(text));
  mkdirSync(folder, { recursive: true });
  const partial = join(folder, `${report.suite}${PARTIAL}`);
  const path = report.isComplete ? join(folder, `${report.suite}.json`) : partial;
  writeDurably(path, [text]);
  if (report.isComplete) rmSync(partial, { force: true });
  return path;
}

/** @throws Error that names the file and what is wrong in it */
export function readReport(path: string): SuiteReport {
  try {
    return checkReport(JSON.parse(readFileSync(path, 'utf8')));
  } catch (thrown) {
    throw new Error(`${path}: ${(thrown as Error).message}`, { cause: thrown });
  }
}
