import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CatalogStore } from '../../src/server/catalogs/catalog-store.js';
import { newSet } from '../../src/server/constraint-sets/set-record.js';
import { SetStore } from '../../src/server/constraint-sets/set-store.js';

const dataDir = mkdtempSync(join(tmpdir(), 'espalier-cleaning-'));
afterAll(() => rmSync(dataDir, { recursive: true }));
const fail = (error: Error) => {
  throw error;
};

/** An upload, and a set that waits for its first list: both of a job that nobody knows of. */
function leaveBehind() {
  const store = new CatalogStore(dataDir).prepare();
  const sets = new SetStore(dataDir, fail);
  const upload = store.uploadPath('received');
  writeFileSync(upload, '"0-1"\n');
  sets.put('small', { ...newSet('waiting', '2026-01-01T00:00:00.000Z'), lastVersion: 1 });
  return {
    clean(areAllKnown: boolean) {
      store.clean([], areAllKnown, fail);
      sets.clean('small', [], areAllKnown);
    },
    isThere: () => [existsSync(upload), sets.get('small', 'waiting') !== undefined],
  };
}

describe('cleaning at a start', () => {
  it('removes what belongs to no job', () => {
    const { clean, isThere } = leaveBehind();
    clean(true);
    expect(isThere()).toEqual([false, false]);
  });

  it('keeps it while there may be a job that cannot be read', () => {
    const { clean, isThere } = leaveBehind();
    clean(false);
    expect(isThere()).toEqual([true, true]);
  });
});
