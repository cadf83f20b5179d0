import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { EspalierError } from '../../../src/errors.js';
import { AuditLog } from '../../../src/server/security/audit-log.js';

let dataDir: string;
let failures: EspalierError[];
const open = (options = {}) =>
  new AuditLog(dataDir, { onFailure: (error) => failures.push(error), ...options });
const entry = (version: number) => ({
  by: 'pipeline',
  action: 'POST /v1/catalogs/:catalog/rollback',
  target: { catalog: 'shop' },
  version,
  outcome: 'done' as const,
});
const versions = async (log: AuditLog, limit = 1_000) =>
  (await log.latest(limit)).map(({ version }) => version);

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'espalier-audit-'));
  failures = [];
});
afterEach(() => {
  expect(failures).toEqual([]);
  rmSync(dataDir, { recursive: true });
});

it('keeps entries in order, over restarts, for its owner alone', async () => {
  const log = open();
  await Promise.all([1, 2, 3].map((version) => log.append(entry(version))));
  await log.close();
  const later = open();
  await later.append(entry(4));
  expect(await versions(later)).toEqual([4, 3, 2, 1]);
  expect(await versions(later, 2)).toEqual([4, 3]);
  expect((await later.latest(1))[0].at).toMatch(/^\d{4}-/);
  expect(statSync(join(dataDir, 'audit', 'audit.jsonl')).mode & 0o777).toBe(0o600);
  await later.close();
});

it('has an entry on disk when append returns', async () => {
  const log = open();
  for (let version = 1; version <= 20; version++) {
    await log.append(entry(version));
    const lines = readFileSync(join(dataDir, 'audit', 'audit.jsonl'), 'utf8').split('\n');
    expect(JSON.parse(lines.at(-2)!).version).toBe(version);
  }
  await log.close();
});

it('puts full files aside, and forgets the oldest', async () => {
  const log = open({ maxFileBytes: 300, maxFiles: 3 });
  for (let version = 1; version <= 40; version++) await log.append(entry(version));
  expect(readdirSync(join(dataDir, 'audit'))).toHaveLength(3);
  const kept = (await versions(log)) as number[];
  expect(kept.length).toBeGreaterThan(3);
  expect(kept).toEqual(kept.map((_, index) => 40 - index));
  await log.close();
});

it('goes on after a line that a crash cut off', async () => {
  const log = open();
  await log.append(entry(1));
  await log.close();
  appendFileSync(join(dataDir, 'audit', 'audit.jsonl'), '{"at":"2026');
  const later = open();
  await later.append(entry(2));
  expect(await versions(later)).toEqual([2, 1]);
  await later.close();
});

it('reports a disk that refuses, and goes on when it does not', async () => {
  const path = join(dataDir, 'audit', 'audit.jsonl');
  mkdirSync(path, { recursive: true });
  const log = open();
  await log.append(entry(1));
  expect(failures.splice(0)).toHaveLength(1);
  rmSync(path, { recursive: true });
  await log.append(entry(2));
  expect(await versions(log)).toEqual([2]);
  await log.close();
});
