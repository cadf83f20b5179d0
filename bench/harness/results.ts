import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { checkReport } from './report-schema.js';
import type { SuiteReport } from './types.js';

/**
 * Writes a report as `<folder>/<suite>.json`: whoever reads it finds the one before or this one, whole.
 * @returns the path
 * @throws Error where it is not what its readers expect; what was there stays
 */
export function writeReport(folder: string, report: SuiteReport): string {
  // As it will be read: NaN and infinity have become null by then.
  const text = `${JSON.stringify(report, null, 2)}\n`;
  checkReport(JSON.parse(text));
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${report.suite}.json`);
  const beside = `${path}.${process.pid}.tmp`;
  const file = openSync(beside, 'w');
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
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
