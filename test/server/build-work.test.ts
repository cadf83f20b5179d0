import { createWriteStream, existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildCatalog } from '../../dist/server/catalogs/build-work.js';
import { nicenesses } from '../helpers/nicenesses.js';

const dataDir = mkdtempSync(join(tmpdir(), 'espalier-build-'));
const payload = {
  files: [{ path: 'items.ndjson', format: 'ndjson', isGzip: false }],
  maxBytes: 1e9,
  path: 'catalog.bin',
  schema: {},
  codebookSizes: [2, 3],
};

beforeAll(async () => {
  const file = createWriteStream(join(dataDir, 'items.ndjson'));
  for (let index = 0; index < 400_000; index++)
    file.write(`{"id":"${index}","sid":[${index % 2},${index % 3}]}\n`);
  await new Promise((resolve) => file.end(resolve));
});

/** The processes that this one has started. */
function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) => {
    const ids = readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim();
    return ids === '' ? [] : ids.split(' ').map(Number);
  });
}

const never = new AbortController().signal;

describe('the work of a build', () => {
  it.skipIf(process.platform !== 'linux')('is nice on every thread, and nobody else is', async () => {
    const before = getPriority();
    const seen: number[][] = [];
    await buildCatalog(payload, {
      jobId: 'a',
      dataDir,
      signal: never,
      onProgress: () => void seen.push(...children().map(nicenesses)),
    });
    expect(seen.length).toBeGreaterThan(0);
    for (const all of seen) {
      expect(all.length).toBeGreaterThan(1);
      expect(new Set(all)).toEqual(new Set([before + 10]));
    }
    expect(new Set(nicenesses(process.pid))).toEqual(new Set([before]));
    expect(existsSync(join(dataDir, 'catalog.bin'))).toBe(true);
  });

  it.skipIf(process.platform !== 'linux')('is a typed error where its process dies', async () => {
    const path = 'died.bin';
    const building = buildCatalog(
      { ...payload, path },
      {
        jobId: 'a',
        dataDir,
        signal: never,
        onProgress: () => {
          for (const pid of children()) process.kill(pid, 'SIGKILL');
        },
      },
    );
    await expect(building).rejects.toMatchObject({
      code: 'ESP_MEMORY',
      message: expect.stringContaining('by SIGKILL'),
    });
    expect(existsSync(join(dataDir, path))).toBe(false);
  });

  it('stops soon after a cancel, and writes nothing', async () => {
    const abort = new AbortController();
    const phases: string[] = [];
    const path = 'cancelled.bin';
    const onProgress = (phase: string) => void phases.push(phase);
    const building = buildCatalog(
      { ...payload, path },
      { jobId: 'a', dataDir, signal: abort.signal, onProgress },
    );
    while (phases.length < 2) await delay(1);
    abort.abort();
    await expect(building).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
    expect(new Set(phases)).toEqual(new Set(['parsing']));
    expect(existsSync(join(dataDir, path))).toBe(false);
  });

  it('does not begin after a cancel', async () => {
    const context = { jobId: 'a', dataDir, signal: AbortSignal.abort(), onProgress: () => {} };
    await expect(buildCatalog({ ...payload, path: 'c.bin' }, context)).rejects.toMatchObject({
      code: 'ESP_CANCELLED',
    });
  });
});
