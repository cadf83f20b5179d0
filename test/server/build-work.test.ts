import { createWriteStream, existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildCatalog } from '../../dist/server/catalogs/build-work.js';

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

/** The niceness of every thread of this process: field 19 of its stat. */
function nicenesses(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) => {
    try {
      return [Number(readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ')[1].split(' ')[16])];
    } catch {
      return [];
    }
  });
}

describe('the work of a build', () => {
  it.skipIf(process.platform !== 'linux')('is nice, unlike all other threads', async () => {
    const before = getPriority();
    const seen: number[][] = [];
    await buildCatalog(payload, {
      jobId: 'a',
      dataDir,
      signal: new AbortController().signal,
      onProgress: () => void seen.push(nicenesses()),
    });
    // The build thread, and those that build the trie for it.
    const most = Math.max(...seen.map((all) => all.filter((niceness) => niceness === before + 10).length));
    expect(most).toBeGreaterThanOrEqual(1);
    expect(most).toBeLessThanOrEqual(3);
    expect(
      Math.max(...seen.map((all) => all.filter((niceness) => niceness === before).length)),
    ).toBeGreaterThan(4);
    expect(getPriority()).toBe(before);
    expect(nicenesses()).not.toContain(before + 10);
    expect(existsSync(join(dataDir, 'catalog.bin'))).toBe(true);
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
